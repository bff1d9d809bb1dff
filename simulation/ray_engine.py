"""Running a study on Flower's simulation engine: one process pool for many small hospitals.

Coordinator and hospitals run the same code as in production; only TLS, keys and the processes between them
are missing.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec

from client.app import SITES_VARIABLE
from client.app import app as client_app
from federation.config import StudyConfig
from federation.files import make_private_folder
from server.app import conduct
from server.countersign import witness_key
from server.progress import OnChange
from server.store import StudyStore
from server.watch import StudyStopped
from simulation.approvals import approve_everywhere
from simulation.federate import write_profile
from simulation.layout import Layout


class EngineMissing(RuntimeError):
    """Ray is an optional dependency."""

    def __init__(self) -> None:
        super().__init__(
            "the engine ray is not installed: type `pip install 'fedcxr[ray]'`, or leave out --engine ray"
        )


def run_over_ray(
    study: StudyConfig, names: Sequence[str], layout: Layout, *, on_change: OnChange
) -> StudyStore:
    """Run the study with one simulated node per hospital.

    Raises:
        EngineMissing: if Ray is not installed.
        StudyStopped: if a round missed its quorum as often as the study allows.
    """
    if find_spec("ray") is None:
        raise EngineMissing
    keep_silent(layout)
    from flwr.app import Context  # noqa: PLC0415  an optional engine's imports stay with it
    from flwr.serverapp import Grid, ServerApp  # noqa: PLC0415
    from flwr.simulation import run_simulation  # noqa: PLC0415

    store = StudyStore.create(layout.coordinator, study)
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001  Flower's signature
        conduct(store, grid, witness_key(layout.coordinator))

    write_profiles(study, names, layout)
    approve_everywhere(store, layout, names)
    run_simulation(
        server_app,
        client_app,
        num_supernodes=len(names),
        backend_config={
            "init_args": {"include_dashboard": False, "_node_ip_address": "127.0.0.1"},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    on_change(store)
    if not store.fact("finished"):
        raise StudyStopped(
            store.fact("stopped") or "the simulation engine ended early: read its output above"
        )
    return store


def write_profiles(study: StudyConfig, names: Sequence[str], layout: Layout) -> None:
    """Write every hospital's profile, and say where they are to the processes that play the hospitals."""
    for name in names:
        write_profile(
            layout,
            name,
            image_size=study.model.image_size,
            port=0,  # there is no connection
            ca_path=layout.coordinator / "ca.crt",
        )
    os.environ[SITES_VARIABLE] = os.pathsep.join(str(layout.profile(name)) for name in names)


def keep_silent(layout: Layout) -> None:
    """Keep Flower and Ray from telling their makers about this run, and Flower's files in the simulation's folder."""
    from flwr.supercore import telemetry  # noqa: PLC0415  read once at import, perhaps long ago

    telemetry.FLWR_TELEMETRY_ENABLED = "0"
    os.environ |= {
        "FLWR_HOME": str(make_private_folder(layout.logs / "home")),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }

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
from server.app import conduct
from server.progress import OnChange
from server.store import StudyStore
from server.watch import StudyStopped
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
    from flwr.app import Context  # noqa: PLC0415  an optional engine's imports stay with it
    from flwr.serverapp import Grid, ServerApp  # noqa: PLC0415
    from flwr.simulation import run_simulation  # noqa: PLC0415

    store = StudyStore.create(layout.coordinator, study)
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001  Flower's signature
        conduct(store, grid)

    os.environ[SITES_VARIABLE] = os.pathsep.join(str(layout.profile(name)) for name in names)
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

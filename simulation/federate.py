"""Running a study over a real federation on this machine: the programs of production, on loopback."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from client.supernode import node_state
from federation.config import StudyConfig
from federation.files import write_file
from federation.processes import Program, Supervisor, flower_environment
from federation.strict_yaml import dump_yaml
from server.endpoint import CoordinatorNotRunning, Endpoint, read_endpoint
from server.enrolment.authority import study_authority
from server.progress import OnChange
from server.store import StudyStore
from server.watch import run_to_end
from simulation.approvals import approve_everywhere, write_open_policy
from simulation.layout import Layout

START_SECONDS = 120.0


class NotStarted(RuntimeError):
    """A program of the federation did not come up."""

    def __init__(self, what: str, log_path: Path) -> None:
        super().__init__(
            f"{what} did not start within {START_SECONDS:.0f} s: its log is {log_path}"
        )


def run_over_processes(
    study: StudyConfig, names: Sequence[str], layout: Layout, *, on_change: OnChange
) -> StudyStore:
    """Start a coordinator and one program per hospital, run the study, and take all of them down."""
    with Supervisor() as supervisor:
        endpoint = start_coordinator(supervisor, layout)
        for name in names:
            write_profile(
                layout,
                name,
                image_size=study.model.image_size,
                port=endpoint.port,
                ca_path=endpoint.ca_path,
            )
            start_hospital(supervisor, layout, name)
        approve_everywhere(StudyStore.create(layout.coordinator, study), layout, names)
        wait_for_hospitals(supervisor, layout, names)

        def tend_and_show(store: StudyStore) -> None:
            supervisor.tend()
            on_change(store)

        return run_to_end(layout.coordinator, study, on_change=tend_and_show)


def start_coordinator(supervisor: Supervisor, layout: Layout) -> Endpoint:
    """Start ``fedcxr coordinator up`` and wait until it is ready."""
    roster = layout.coordinator / "roster"
    roster.mkdir(parents=True, exist_ok=True)
    arguments = ("coordinator", "up", "--state", str(layout.coordinator))
    program = _command(layout, "coordinator", arguments)
    supervisor.start("coordinator", program)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            return read_endpoint(layout.coordinator)
        except CoordinatorNotRunning:
            time.sleep(0.2)
    raise NotStarted("the coordinator", program.log_path)


def start_hospital(supervisor: Supervisor, layout: Layout, name: str) -> None:
    """Start ``fedcxr hospital up`` for one hospital."""
    supervisor.start(name, hospital_program(layout, name))


def hospital_program(layout: Layout, name: str) -> Program:
    """What runs at one hospital."""
    return _command(layout, name, ("hospital", "up", str(layout.profile(name))))


def wait_for_hospitals(supervisor: Supervisor, layout: Layout, names: Sequence[str]) -> None:
    """Wait until every hospital is registered with the coordinator."""
    waiting, deadline = set(names), time.monotonic() + START_SECONDS
    while waiting:
        waiting = {name for name in waiting if not _is_registered(layout, name)}
        supervisor.tend()
        if time.monotonic() > deadline:
            name = min(waiting)
            raise NotStarted(f"hospital {name}", layout.logs / f"{name}.log")
        time.sleep(0.2)


def write_profile(layout: Layout, name: str, *, image_size: int, port: int, ca_path: Path) -> None:
    """Write a hospital's profile for a coordinator on loopback."""
    profile = {
        "site_name": name,
        "coordinator": f"127.0.0.1:{port}",
        "ca_path": str(ca_path),
        "authority_path": str(study_authority(layout.coordinator).public_path),
        "data_path": "data/dicom",
        "labels_path": "data/labels.csv",
        "state_path": "state",
        "public_key_path": str(layout.coordinator / "roster" / f"{name}.pub"),
        "image_size": image_size,
        "share_counts": True,
        "codec_path": str(layout.codec_path) if layout.codec_path else None,
        "privacy_path": "privacy.yaml",
    }
    write_open_policy(layout, name)
    write_file(layout.profile(name), dump_yaml(profile).encode())


def _is_registered(layout: Layout, name: str) -> bool:
    return node_state(layout.hospital(name) / "state") == "registered"


def _command(layout: Layout, name: str, arguments: Sequence[str]) -> Program:
    return Program(
        arguments=(sys.executable, "-m", "cli", *arguments),
        environment=flower_environment(layout.logs / "home"),
        folder=layout.out,
        log_path=layout.logs / f"{name}.log",
    )

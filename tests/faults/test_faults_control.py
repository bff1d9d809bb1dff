"""A hospital's people pause, resume, stop and leave in the middle of a real study that really trains."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from client.config import SiteConfig
from client.evidence.log import entries
from federation.config import StudyConfig, parse_study
from federation.processes import Supervisor, flower_environment
from server.status import study_status
from server.store import StudyStore
from server.watch import run_to_end
from simulation.approvals import approve_everywhere
from simulation.federate import (
    start_coordinator,
    start_hospital,
    wait_for_hospitals,
    write_profile,
)
from simulation.layout import Layout
from tests.faults.federation_under_test import wait_until

pytestmark = [
    pytest.mark.federation,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("FEDCXR_ALL_FAULTS"), reason="`make faults` runs it"),
]
NAMES = ("site-01",)
STEPS = 600
"""Of a round: some seconds."""


def study() -> StudyConfig:
    return parse_study(
        '{"name":"control","seed":5,"model":{"size":"tiny","image_size":16},'
        '"rounds":{"num_sites":1,"min_sites":1,"deadline_seconds":300,"retry_seconds":1},'
        '"stages":[{"kind":"full","num_rounds":3,'
        f'"local":{{"local_steps":{STEPS},"batch_size":4,"learning_rate":0.001}}}}]}}'
    )


@contextmanager
def running(
    out: Path, make_hospital: Callable[..., SiteConfig]
) -> Iterator[tuple[Layout, StudyStore]]:
    """A coordinator, a hospital, and a study of three rounds under way."""
    layout, (name,) = Layout(out), NAMES
    make_hospital(layout.hospital(name), "state")
    with Supervisor() as supervisor:
        endpoint = start_coordinator(supervisor, layout)
        write_profile(layout, name, image_size=16, port=endpoint.port, ca_path=endpoint.ca_path)
        store = StudyStore.create(layout.coordinator, study())
        approve_everywhere(store, layout, NAMES)
        start_hospital(supervisor, layout, name)
        wait_for_hospitals(supervisor, layout, NAMES)
        threading.Thread(
            target=lambda: run_to_end(layout.coordinator, study(), on_change=lambda _: None),
            daemon=True,
        ).start()
        yield layout, store


def typed(layout: Layout, verb: str, *words: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "hospital", verb, layout.profile(NAMES[0]), "--json", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=flower_environment(layout.out / "home"),
    )
    return dict(json.loads(done.stdout))


def is_training(layout: Layout, number: int) -> bool:
    """Whether a process of the hospital computes for a round."""
    state = layout.hospital(NAMES[0]) / "state"
    asked = [each for each in entries(state) if each.event == "round-asked"]
    return any(each.facts.get("round") == number for each in asked)


def is_known_to_pause(store: StudyStore) -> bool:
    """Whether the coordinator was told, and will ask again."""
    return any(
        (each.state, each.code) == ("waiting", "paused") for each in study_status(store).parts
    )


def test_people_pause_resume_stop_and_leave_while_their_hospital_trains(
    tmp_path: Path, make_hospital: Callable[..., SiteConfig]
) -> None:
    with running(tmp_path, make_hospital) as (layout, store):
        state = layout.hospital(NAMES[0]) / "state"
        wait_until(lambda: is_training(layout, 1), seconds=120)
        typed(layout, "pause")
        wait_until(lambda: is_known_to_pause(store), seconds=60)
        assert not store.rounds()
        assert not list((state / "studies").glob("*/round-*"))
        typed(layout, "resume")
        wait_until(store.rounds, seconds=120)

        wait_until(lambda: is_training(layout, 2), seconds=60)
        facts = typed(layout, "stop")
        assert float(str(facts["acknowledged_seconds"])) < 2.0
        assert float(str(facts["gone_seconds"])) < 10.0
        assert not [each for each in psutil.process_iter(["cmdline"]) if _belongs(each, state)]
        assert len(store.rounds()) == 1

        typed(layout, "resume")
        typed(layout, "withdraw")
        assert not list((state / "studies").glob("*/round-*"))


def _belongs(process: psutil.Process, state: Path) -> bool:
    return str(state) in " ".join(process.info["cmdline"] or ())

"""A hospital's people pause, resume, stop and leave in the middle of a real study that really trains."""

import json
from collections.abc import Callable
from pathlib import Path

import psutil

from client.config import SiteConfig
from server.status import study_status
from server.store import StudyStore
from simulation.layout import Layout
from tests.faults.federation_under_test import wait_until
from tests.faults.one_hospital import (
    IN_MAKE_FAULTS,
    rounds_asked,
    state_of,
    study_of_one,
    typed,
    under_way,
)

pytestmark = IN_MAKE_FAULTS
STEPS = 600
"""Of a round: some seconds."""


def is_known_to_pause(store: StudyStore) -> bool:
    """Whether the coordinator was told, and will ask again."""
    return any(
        (each.state, each.code) == ("waiting", "paused") for each in study_status(store).parts
    )


def test_people_pause_resume_stop_and_leave_while_their_hospital_trains(
    tmp_path: Path, make_hospital: Callable[..., SiteConfig]
) -> None:
    layout = Layout(tmp_path)
    study = study_of_one("control", num_rounds=3, num_steps=STEPS)
    with under_way(study, layout, make_hospital) as store:
        state = state_of(layout)
        wait_until(lambda: 1 in rounds_asked(layout), seconds=120)
        typed(layout, "pause", "--json")
        wait_until(lambda: is_known_to_pause(store), seconds=60)
        assert not store.rounds()
        assert not list((state / "studies").glob("*/round-*"))
        typed(layout, "resume", "--json")
        wait_until(store.rounds, seconds=120)

        wait_until(lambda: 2 in rounds_asked(layout), seconds=60)
        facts = dict(json.loads(typed(layout, "stop", "--json")))
        assert float(str(facts["acknowledged_seconds"])) < 2.0
        assert float(str(facts["gone_seconds"])) < 10.0
        assert not [each for each in psutil.process_iter(["cmdline"]) if _belongs(each, state)]
        assert len(store.rounds()) == 1

        typed(layout, "resume", "--json")
        typed(layout, "withdraw", "--json")
        assert not list((state / "studies").glob("*/round-*"))


def _belongs(process: psutil.Process, state: Path) -> bool:
    return str(state) in " ".join(process.info["cmdline"] or ())

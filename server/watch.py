"""Running a study to its end: submit, watch, submit again when the coordinator's process has died."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from federation.config import StudyConfig, study_digest
from server.control import ControlRefused
from server.endpoint import CoordinatorNotRunning
from server.store import StudyStore
from server.superlink import registered_sites, submit_run

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
RETRY_SECONDS = 3.0
START_SECONDS = 60.0
"""Time a submitted run gets until its process holds the study."""
MAX_FRUITLESS_RUNS = 5
"""Runs in a row that may die without committing a round."""


class StudyStopped(RuntimeError):
    """The study waits for a person; every finished round is kept."""

    exit_code = 3


def run_to_end(
    state_path: Path, study: StudyConfig, *, on_change: Callable[[StudyStore], None]
) -> StudyStore:
    """Run a study until it is finished, over as many Flower runs as that takes.

    A Flower run cannot be resumed, so a run that died is followed by a new one, which continues from the last
    committed round. Calls ``on_change`` about once a second.

    Raises:
        StudyStopped: if a round missed its quorum as often as the study allows, or runs die without progress.
    """
    store = StudyStore.create(state_path, study)
    fruitless = 0
    while not store.fact("finished"):
        before = len(store.rounds())
        _one_run(state_path, store, on_change=on_change)
        if store.fact("stopped"):
            raise StudyStopped(store.fact("stopped"))
        fruitless = 0 if len(store.rounds()) > before else fruitless + 1
        if fruitless >= MAX_FRUITLESS_RUNS and not store.fact("finished"):
            raise StudyStopped(
                f"{fruitless} runs of study {study.name} ended without a round: read logs/superexec.log in the "
                f"coordinator's state folder, then type `fedcxr coordinator run` again"
            )
    on_change(store)
    return store


def _one_run(
    state_path: Path, store: StudyStore, *, on_change: Callable[[StudyStore], None]
) -> None:
    """Submit one Flower run, unless the study is running already, and watch until it holds the study no more."""
    if not store.is_running():
        store.set_fact("stopped", "")
        _await_start(store, _submit(state_path, store))
    while store.is_running():
        on_change(store)
        time.sleep(POLL_SECONDS)


def _submit(state_path: Path, store: StudyStore) -> str:
    """Submit a run; while the coordinator is down, wait for whoever keeps it to bring it back."""
    while True:
        try:
            for name in registered_sites(state_path):  # so that who connects first decides nothing
                store.number_site(name)
            return submit_run(state_path, {"study": study_digest(store.study)})
        except (CoordinatorNotRunning, ControlRefused) as err:
            logger.warning("study %s waits: %s", store.study.name, err)
            time.sleep(RETRY_SECONDS)


def _await_start(store: StudyStore, run_id: str) -> None:
    """Wait until the run's process holds the study, has ended, or has had its time."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if store.is_running() or store.fact("finished") or store.fact("stopped"):
            return
        time.sleep(POLL_SECONDS / 4)
    logger.warning("run %s of study %s has not started", run_id, store.study.name)

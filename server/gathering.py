"""Asking for counts before a study, from the operator's side: put the question down, have it asked, wait."""

import contextlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from federation.config import StudyConfig, study_digest
from federation.files import hold_lock
from federation.messages import CountsAnswer
from federation.statistics import Pair
from server.control import ControlRefused
from server.statistics import (
    TASK,
    Question,
    read_answers,
    statistics_folder,
    write_question,
)
from server.superlink import registered_sites, run_status, submit_run

POLL_SECONDS = 0.5
CHECK_SECONDS = 3.0
"""Pause between two looks at whether the run still lives."""
START_SECONDS = 60.0
"""Time that the run's process gets to start and to end, on top of the time it may wait for hospitals."""


class NobodyToAsk(RuntimeError):
    """The roster is empty."""

    def __init__(self) -> None:
        super().__init__(
            "no hospital is in the roster: put the hospitals' public keys there, then ask again"
        )


class NotAnswered(RuntimeError):
    """The run that should have asked the hospitals is over."""

    def __init__(self, state_path: Path) -> None:
        super().__init__(
            f"the run that asks the hospitals ended without a result: read {state_path}/logs/study.log, then "
            "type the same command again"
        )


def gather(
    state_path: Path, study: StudyConfig, *, pairs: Sequence[Pair] = (), wait_seconds: float
) -> dict[str, CountsAnswer]:
    """Have every hospital asked for the counts that matter to a study; answers by name.

    Raises:
        CoordinatorNotRunning: if nobody serves from this folder.
        NobodyToAsk: if the roster is empty.
        AlreadyRunning: if the same question is being asked by another command.
        NotAnswered: if the run ends without a result.
    """
    folder, sites = statistics_folder(state_path, study_digest(study)), registered_sites(state_path)
    if not sites:
        raise NobodyToAsk
    question = Question(
        token=secrets.token_hex(8),
        findings=study.findings,
        pairs=tuple(pairs),
        sites=sites,
        wait_seconds=wait_seconds,
    )
    with hold_lock(folder / "lock"):
        write_question(folder, question)
        run_id = submit_run(state_path, {"study": study_digest(study), "task": TASK})
        return _await_answers(state_path, run_id, folder, question)


def _await_answers(
    state_path: Path, run_id: str, folder: Path, question: Question
) -> dict[str, CountsAnswer]:
    """Look for the answers until they are there, or the run is over."""
    deadline = time.monotonic() + question.wait_seconds + START_SECONDS
    next_check = time.monotonic() + CHECK_SECONDS
    is_over = False
    while True:
        answers = read_answers(folder, question)
        if answers is not None:
            return answers
        if is_over or time.monotonic() > deadline:
            raise NotAnswered(state_path)
        if time.monotonic() > next_check:
            with contextlib.suppress(ControlRefused):  # restarting: look again
                is_over = run_status(state_path, run_id).startswith("finished")
            next_check = time.monotonic() + CHECK_SECONDS
        time.sleep(POLL_SECONDS)

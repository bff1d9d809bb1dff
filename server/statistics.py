"""Counts before a study: one question and its answers, each a file in the coordinator's state.

The command writes the question and submits a run; the run's process asks the hospitals and writes the answers.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from federation.config import StudyConfig, study_digest
from federation.files import hold_lock, write_file
from federation.messages import CountsAnswer, CountsRequest, Refusal, RefusalCode, SiteCounts
from federation.statistics import Pair
from server.control import ControlRefused
from server.superlink import registered_sites, run_status, submit_run

TASK = "statistics"
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
            f"the run that asks the hospitals ended without a result: read {state_path}/logs/superexec.log, then "
            "type the same command again"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a run is to ask."""

    token: str
    """Names this question; its answers carry it."""
    findings: tuple[str, ...]
    pairs: tuple[Pair, ...]
    """Attributes to be counted by two."""
    sites: tuple[str, ...]
    """Hospitals of the roster."""
    wait_seconds: float

    @property
    def request(self) -> CountsRequest:
        """The message to the hospitals."""
        return CountsRequest(findings=self.findings, pairs=self.pairs)


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
        write_file(folder / "question.json", json.dumps(asdict(question)).encode())
        run_id = submit_run(state_path, {"study": study_digest(study), "task": TASK})
        return _await_answers(state_path, run_id, folder, question)


def statistics_folder(state_path: Path, digest: str) -> Path:
    """Where the coordinator keeps the counts for a study."""
    return state_path / "statistics" / digest[:12]


def read_question(folder: Path) -> Question:
    """What the run is to ask."""
    content = json.loads((folder / "question.json").read_text())
    return Question(
        token=content["token"],
        findings=tuple(content["findings"]),
        pairs=tuple((first, second) for first, second in content["pairs"]),
        sites=tuple(content["sites"]),
        wait_seconds=content["wait_seconds"],
    )


def write_answers(folder: Path, question: Question, answers: Mapping[str, CountsAnswer]) -> None:
    """Put all answers on disk in one step."""
    content = {"token": question.token, "hospitals": {s: asdict(a) for s, a in answers.items()}}
    write_file(folder / "answers.json", json.dumps(content, indent=2).encode())


def read_answers(folder: Path, question: Question) -> dict[str, CountsAnswer] | None:
    """The answers to this question; None if they are not there yet."""
    try:
        content = json.loads((folder / "answers.json").read_text())
    except FileNotFoundError:
        return None
    if content["token"] != question.token:
        return None
    return {site: _answer(fields) for site, fields in sorted(content["hospitals"].items())}


def _answer(fields: dict[str, Any]) -> CountsAnswer:
    if "code" in fields:
        return Refusal(code=RefusalCode(fields["code"]), reason=fields["reason"])
    return SiteCounts(**fields)


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

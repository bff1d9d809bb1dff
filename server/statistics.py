"""Counts before a study: one question and its answers, each a file in the coordinator's state.

The command writes the question and submits a run; the run's process asks the hospitals and writes the answers.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from federation.files import write_file
from federation.messages import CountsAnswer, CountsRequest, Refusal, RefusalCode, SiteCounts
from federation.statistics import Pair

TASK = "statistics"


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


def statistics_folder(state_path: Path, digest: str) -> Path:
    """Where the coordinator keeps the counts for a study."""
    return state_path / "statistics" / digest[:12]


def write_question(folder: Path, question: Question) -> None:
    """Put a question down for the run that asks it."""
    write_file(folder / "question.json", json.dumps(asdict(question)).encode())


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

"""What readers answered, read from the files that their pages wrote, and checked against the key."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthesis.reader_study.booklet import FORMAT_VERSION, Key

SIGN = {"real": -1, "synthetic": 1}
MAX_CONFIDENCE = 5

Answer = dict[str, Any]
"""As it was found in a file, so nothing of it is certain."""


class NoAnswers(ValueError):
    """A file is not one that a page of a reader study wrote."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not a whole file of answers: give the file as the reader's page wrote it, or have the "
            "reader download it again"
        )


class ForeignAnswers(ValueError):
    """A file answers another study, or a page that this study does not have."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} answers another study: give the study's own folder with its own answers"
        )


class AnswersTwice(ValueError):
    """Two files are of the same reader."""

    def __init__(self, reader: int, first: Path, second: Path) -> None:
        super().__init__(f"{first} and {second} are both of reader {reader}: give one of them")


class AnswersIncomplete(ValueError):
    """A reader has not finished."""

    def __init__(self, path: Path, *, given: int, wanted: int) -> None:
        super().__init__(
            f"{path} has {given} of {wanted} answers: have the reader finish and download again, or give "
            "--incomplete to score what is there"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Comment:
    """What a reader wrote beside an answer."""

    reader: int
    presentation: int
    picture: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reading:
    """All answers of one reader."""

    reader: int
    verdicts: NDArray[np.float64]
    """(presentation, picture): 1 to 5 for synthetic with that confidence, -1 to -5 for real, NaN for none."""

    comments: tuple[Comment, ...]


def read_all(paths: Sequence[Path], key: Key, *, complete: bool) -> list[Reading]:
    """Every reader's answers, in the order of the readers.

    Args:
        paths: files as pages wrote them.
        key: of the study.
        complete: refuse a reader who has not finished.

    Raises:
        NoAnswers, ForeignAnswers, AnswersTwice, AnswersIncomplete: saying which file and what to do.
    """
    found: dict[int, tuple[Path, Reading]] = {}
    for path in paths:
        reading = _read(path, key)
        if reading.reader in found:
            raise AnswersTwice(reading.reader, found[reading.reader][0], path)
        given, wanted = int((~np.isnan(reading.verdicts)).sum()), reading.verdicts.size
        if complete and given < wanted:
            raise AnswersIncomplete(path, given=given, wanted=wanted)
        found[reading.reader] = (path, reading)
    return [found[reader][1] for reader in sorted(found)]


def _read(path: Path, key: Key) -> Reading:
    try:
        content = json.loads(path.read_bytes())
        study, reader, layout = content["study"], int(content["reader"]), content["format"]
    except (OSError, ValueError, TypeError, KeyError):
        raise NoAnswers(path) from None
    if study != key.study or reader not in key.marks:
        raise ForeignAnswers(path)
    if layout != FORMAT_VERSION:
        raise NoAnswers(path)
    try:
        return _parse_all(content["answers"], key, reader)
    except (TypeError, KeyError, ValueError, IndexError, AttributeError):
        raise NoAnswers(path) from None


def _parse_all(answers: list[Answer], key: Key, reader: int) -> Reading:
    """Raises whatever does not fit."""
    numbers = {mark: number for number, mark in enumerate(key.marks[reader])}
    verdicts = np.full((key.num_presentations, len(key.kinds)), np.nan)
    comments = []
    for answer in answers:
        presentation, picture = answer["presentation"], numbers[answer["picture"]]
        if presentation < 1 or not math.isnan(verdicts[presentation - 1, picture]):
            raise ValueError
        verdicts[presentation - 1, picture] = _verdict(answer)
        comments.append(
            Comment(
                reader=reader,
                presentation=presentation,
                picture=picture,
                text=answer["comment"].strip(),
            )
        )
    return Reading(
        reader=reader,
        verdicts=verdicts,
        comments=tuple(comment for comment in comments if comment.text),
    )


def _verdict(answer: Answer) -> int:
    """Signed confidence; raises on anything else."""
    confidence = answer["confidence"]
    if confidence not in range(1, MAX_CONFIDENCE + 1):
        raise ValueError
    return SIGN[answer["choice"]] * int(confidence)

"""The result of a reader study: every reader against chance, all readers together, and who agrees with whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import Interval, bootstrap_interval
from synthesis.reader_study.agreement import cohen_kappa, fleiss_kappa
from synthesis.reader_study.answers import Comment, Reading
from synthesis.reader_study.booklet import Key
from synthesis.reader_study.detection import Detection, detect

Judge = Callable[[NDArray[np.bool_]], float]
"""Takes says-synthetic of shape (series, picture)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderResult:
    """One reader in one presentation."""

    reader: int
    presentation: int
    detection: Detection


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number with a 95 % interval by the bootstrap over pictures."""

    what: str
    value: float
    """NaN where it cannot be told: all judgements alike, say."""

    interval: Interval
    num_pictures: int
    """That everybody concerned answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """Everything that is said of a study."""

    study: str
    num_real: int
    num_synthetic: int
    num_presentations: int
    readers: tuple[ReaderResult, ...]
    together: tuple[Estimate, ...]
    """Mean accuracy of all readers, one per presentation."""

    within: tuple[Estimate, ...]
    """Cohen's kappa of each reader's answers in every two presentations."""

    between: tuple[Estimate, ...]
    """Cohen's kappa of every two readers, and Fleiss' of all if they are more, in each presentation."""

    comments: tuple[Comment, ...]


def score(key: Key, readings: Sequence[Reading]) -> StudyResult:
    """Count, compare with the key, and with each other.

    The resamples' seed is fixed: the same answers give the same result.
    """
    truth = np.array([kind == "synthetic" for kind in key.kinds])
    return StudyResult(
        study=key.study,
        num_real=int((~truth).sum()),
        num_synthetic=int(truth.sum()),
        num_presentations=key.num_presentations,
        readers=tuple(_each(readings, truth)),
        together=tuple(_together(readings, truth)),
        within=tuple(_within(readings)),
        between=tuple(_between(readings)),
        comments=tuple(comment for reading in readings for comment in reading.comments),
    )


def _each(readings: Sequence[Reading], truth: NDArray[np.bool_]) -> list[ReaderResult]:
    results = []
    for reading in readings:
        for number, verdicts in enumerate(reading.verdicts, start=1):
            known = ~np.isnan(verdicts)
            if known.any():
                found = detect(verdicts[known], truth[known], generator=np.random.default_rng(0))
                results.append(
                    ReaderResult(reader=reading.reader, presentation=number, detection=found)
                )
    return results


def _together(readings: Sequence[Reading], truth: NDArray[np.bool_]) -> list[Estimate]:
    """Pictures are resampled: all readers saw the same, so their answers are no independent trials."""
    if len(readings) < 2:
        return []
    estimates = []
    for number in range(len(readings[0].verdicts)):
        # The truth as one more row: resampled with the judgements, and told apart again by its place.
        series = [*(reading.verdicts[number] for reading in readings), np.where(truth, 1.0, -1.0)]
        what = f"all readers, presentation {number + 1}"
        estimates.append(
            _estimate(what, series, lambda says: float((says[:-1] == says[-1]).mean()))
        )
    return estimates


def _within(readings: Sequence[Reading]) -> list[Estimate]:
    return [
        _estimate(
            f"reader {reading.reader}, presentations {first + 1} and {second + 1}",
            [reading.verdicts[first], reading.verdicts[second]],
            lambda says: cohen_kappa(says[0], says[1]),
        )
        for reading in readings
        for first, second in combinations(range(len(reading.verdicts)), 2)
    ]


def _between(readings: Sequence[Reading]) -> list[Estimate]:
    estimates = []
    for number in range(len(readings[0].verdicts)):
        where = f"presentation {number + 1}"
        for first, second in combinations(readings, 2):
            estimates.append(
                _estimate(
                    f"readers {first.reader} and {second.reader}, {where}",
                    [first.verdicts[number], second.verdicts[number]],
                    lambda says: cohen_kappa(says[0], says[1]),
                )
            )
        if len(readings) > 2:
            series = [reading.verdicts[number] for reading in readings]
            estimates.append(_estimate(f"all readers (Fleiss), {where}", series, fleiss_kappa))
    return estimates


def _estimate(what: str, series: Sequence[NDArray[np.float64]], judge: Judge) -> Estimate:
    """A number on the pictures that no row leaves out."""
    verdicts = np.stack(series)
    says = verdicts[:, ~np.isnan(verdicts).any(axis=0)] > 0
    num_pictures = says.shape[1]
    if not num_pictures:
        unknown = Interval(low=np.nan, high=np.nan)
        return Estimate(what=what, value=np.nan, interval=unknown, num_pictures=0)
    interval = bootstrap_interval(
        lambda places: judge(says[:, places]),
        np.arange(num_pictures),
        generator=np.random.default_rng(0),
    )
    return Estimate(what=what, value=judge(says), interval=interval, num_pictures=num_pictures)

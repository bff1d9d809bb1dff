"""Percentile interval of any statistic, by drawing patients again and again with replacement.

(Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.) Patients are drawn, not records:
two radiographs of one person say less than radiographs of two.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Two ends between which a statistic probably lies; NaN where it could not be told."""

    low: float
    high: float


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    patients: Shaped[np.ndarray, " record"],
    *,
    generator: np.random.Generator,
    num_resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Interval that holds ``confidence`` of the statistic's values on resamples.

    Args:
        statistic: takes places of records, with repeats; NaN (one class only, say) leaves the resample out.
        patients: who each record belongs to; ``np.arange(n)`` where each stands alone.
        generator: of the resamples.
        num_resamples: how many.
        confidence: share in (0, 1).
    """
    values = [statistic(places) for places in resamples(patients, generator, num_resamples)]
    return percentile_interval(np.asarray(values, dtype=np.float64), confidence)


def resamples(
    patients: Shaped[np.ndarray, " record"], generator: np.random.Generator, num_resamples: int
) -> Iterator[NDArray[np.int64]]:
    """Places of the records of as many patients as there are, drawn with replacement."""
    _, number = np.unique(patients, return_inverse=True)
    order = np.argsort(number, kind="stable")
    records = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    for _ in range(num_resamples):
        drawn = generator.integers(len(records), size=len(records))
        yield np.concatenate([records[patient] for patient in drawn])


def percentile_interval(values: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """Ends that leave out the same share of the values on either side; NaNs do not count."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(low=np.nan, high=np.nan)
    outside = (1 - confidence) / 2
    low, high = np.quantile(known, [outside, 1 - outside])
    return Interval(low=float(low), high=float(high))

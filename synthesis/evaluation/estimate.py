"""Numbers with intervals: every measure is taken of the records and, in one go, of resampled patients.

A resample is a weight per record: how often the record's patient was drawn. Measures take the weights of all
resamples and give one value each, so that differences and ratios of measures are made value by value and have
intervals of their own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import Interval, percentile_interval, resamples

Weights = NDArray[np.float64]
"""(1 + resample, record): first 1 for every record, then how often each was drawn."""

Values = NDArray[np.float64]
"""(1 + resample,): a measure of the records themselves, then of every resample; NaN where it has none."""

Statistic = Callable[[Weights], Values]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A measured number; NaN where it could not be measured."""

    value: float
    interval: Interval
    """95 %, over resampled patients."""

    def __str__(self) -> str:
        """For a sentence."""
        if math.isnan(self.value):
            return "not known"
        return f"{self.value:.2f} ({self.interval.low:.2f} to {self.interval.high:.2f})"


def estimate(values: Values) -> Estimate:
    """The measure, with the interval that its resamples span."""
    return Estimate(value=float(values[0]), interval=percentile_interval(values[1:]))


def patient_weights(
    patients: NDArray[np.integer], *, num_resamples: int, generator: np.random.Generator
) -> Weights:
    """Weights of n records for the measures, patients drawn with replacement."""
    drawn = [
        np.bincount(places, minlength=len(patients))
        for places in resamples(patients, generator, num_resamples)
    ]
    return np.stack([np.ones(len(patients)), *drawn])


def mean_of(values: NDArray[np.floating] | NDArray[np.bool_], weights: Weights) -> Values:
    """Weighted mean of a number per record; records where it is NaN do not count."""
    known = ~np.isnan(values.astype(np.float64))
    total = (weights * known).sum(axis=1)
    summed = weights @ np.where(known, values, 0.0)
    return divided(summed, total)


def divided(above: Values, below: Values) -> Values:
    """Value by value; NaN over 0."""
    return np.asarray(above / np.where(below == 0, np.nan, below))


def mean_over(measures: Sequence[Values]) -> Values:
    """Mean of several measures, value by value; those that are NaN do not count."""
    stacked = np.stack(measures)
    known = ~np.isnan(stacked)
    return divided(np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


NOT_KNOWN = Estimate(value=math.nan, interval=Interval(low=math.nan, high=math.nan))

"""Area under the ROC curve, and under the precision-recall curve, with ties counted as they should be.

Two classifiers on the same records are compared by DeLong et al. 1988 (https://doi.org/10.2307/2531595).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

Scores = Float[np.ndarray, " record"]
Labels = Bool[np.ndarray, " record"]


def auroc(scores: Scores, labels: Labels) -> float:
    """Probability that a positive scores higher than a negative; a tie counts half. NaN without both."""
    num_positive = int(labels.sum())
    num_negative = len(labels) - num_positive
    if not num_positive or not num_negative:
        return math.nan
    ranks = _middle_ranks(scores)
    surplus = ranks[labels].sum() - num_positive * (num_positive + 1) / 2
    return float(surplus / (num_positive * num_negative))


def average_precision(scores: Scores, labels: Labels) -> float:
    """Area under the steps of the precision-recall curve; chance is the share of positives. NaN without one."""
    if not labels.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    precision = hits[ends] / (ends + 1)
    gained = np.diff(hits[ends], prepend=0) / hits[-1]
    return float((precision * gained).sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedAuroc:
    """Two classifiers on the same records."""

    first: float
    second: float
    standard_error: float
    """Of the difference, first minus second."""
    p_value: float
    """Two-sided, of the difference being chance."""


def delong(first: Scores, second: Scores, labels: Labels) -> PairedAuroc:
    """Compare two classifiers; needs two positives and two negatives, otherwise everything is NaN."""
    if min(labels.sum(), (~labels).sum()) < 2:
        return PairedAuroc(
            first=math.nan, second=math.nan, standard_error=math.nan, p_value=math.nan
        )
    (area, positive, negative), (other_area, other_positive, other_negative) = (
        _placements(scores, labels) for scores in (first, second)
    )
    variance = _variance(positive - other_positive) + _variance(negative - other_negative)
    error, apart = math.sqrt(variance), abs(area - other_area)
    p_value = math.erfc(apart / error / math.sqrt(2)) if error else float(apart == 0)
    return PairedAuroc(first=area, second=other_area, standard_error=error, p_value=p_value)


def _middle_ranks(scores: Scores) -> NDArray[np.float64]:
    """Ranks from 1; equal scores share the mean of theirs."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place])


def _placements(
    scores: Scores, labels: Labels
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Area; share of negatives below each positive; share of positives above each negative."""
    ranks = _middle_ranks(scores)
    below = ranks[labels] - _middle_ranks(scores[labels])
    above = labels.sum() - (ranks[~labels] - _middle_ranks(scores[~labels]))
    positive, negative = below / (~labels).sum(), above / labels.sum()
    return float(positive.mean()), positive, negative


def _variance(values: NDArray[np.float64]) -> float:
    """Variance of the mean."""
    return float(values.var(ddof=1) / len(values))

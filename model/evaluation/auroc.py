"""Area under the ROC curve, with ties counted as they should be."""

import math

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


def _middle_ranks(scores: Scores) -> NDArray[np.float64]:
    """Ranks from 1; equal scores share the mean of theirs."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place])

"""Exact interval and tail of a share: so many of so many.

(Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.)
"""

import math
from collections.abc import Callable

from model.evaluation.bootstrap import Interval

_NUM_HALVINGS = 60


def exact_interval(num_hits: int, num_trials: int, *, confidence: float = 0.95) -> Interval:
    """Interval of the probability behind ``num_hits`` of ``num_trials``; never too narrow.

    Raises:
        ValueError: no trial, or more hits than trials.
    """
    if not 0 <= num_hits <= num_trials or not num_trials:
        raise ValueError(f"{num_hits} of {num_trials} is not a share")
    outside = (1 - confidence) / 2
    low, high = 0.0, 1.0
    if num_hits > 0:
        low = _root(lambda p: at_least(num_hits, num_trials, p) - outside)
    if num_hits < num_trials:
        high = _root(lambda p: outside - (1 - at_least(num_hits + 1, num_trials, p)))
    return Interval(low=low, high=high)


def at_least(num_hits: int, num_trials: int, probability: float) -> float:
    """Chance of ``num_hits`` or more in ``num_trials``, each with the given probability."""
    if num_hits <= 0:
        return 1.0
    if probability in {0.0, 1.0}:
        return probability
    chances = (
        math.exp(
            math.lgamma(num_trials + 1)
            - math.lgamma(hits + 1)
            - math.lgamma(num_trials - hits + 1)
            + hits * math.log(probability)
            + (num_trials - hits) * math.log1p(-probability)
        )
        for hits in range(num_hits, num_trials + 1)
    )
    return min(1.0, math.fsum(chances))


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function of a probability passes 0."""
    low, high = 0.0, 1.0
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2

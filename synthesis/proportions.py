"""Shares, so many of so many, each with its exact interval."""

import math
from dataclasses import dataclass

from model.evaluation.binomial import at_least, exact_interval
from model.evaluation.bootstrap import Interval

NOTHING_KNOWN = Interval(low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A count out of a total."""

    count: int
    total: int
    value: float
    """Count over total, 0 to 1; NaN of nothing."""

    interval: Interval
    """Exact; from 0 to 1 of nothing."""


def share(count: int, total: int, *, confidence: float = 0.95) -> Share:
    """A share with the interval of Clopper and Pearson."""
    if not total:
        return Share(count=0, total=0, value=math.nan, interval=NOTHING_KNOWN)
    interval = exact_interval(count, total, confidence=confidence)
    return Share(count=count, total=total, value=count / total, interval=interval)


def chance_of_guessing(count: int, total: int) -> float:
    """Two-sided p-value of ``count`` right answers of ``total`` for someone who tosses a coin."""
    return min(1.0, 2 * at_least(max(count, total - count), total, 0.5))


def fewest_that_differ(total: int, *, confidence: float = 0.95) -> int | None:
    """Right answers of ``total`` from which on a coin does not explain them; None if none suffice."""
    counts = range(math.ceil(total / 2), total + 1)
    return next((n for n in counts if chance_of_guessing(n, total) <= 1 - confidence), None)

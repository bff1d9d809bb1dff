"""Numbers as journals write them, for tables and pages."""

import math

from model.evaluation.bootstrap import Interval
from synthesis.proportions import Share


def number(value: float) -> str:
    """Two decimals, no leading nought; a dash for what could not be told."""
    if math.isnan(value):
        return "-"
    text = f"{value:.2f}"
    text = text.replace("0.", ".", 1) if abs(value) < 0.995 else text
    return text.replace("-.00", ".00")


def between(interval: Interval) -> str:
    """Both ends in brackets; nothing for what could not be told."""
    if math.isnan(interval.low):
        return ""
    return f"[{number(interval.low)}, {number(interval.high)}]"


def count(counted: Share) -> str:
    """So many of so many."""
    return f"{counted.count} of {counted.total}"


def p_value(value: float) -> str:
    """Three decimals, or that it is less."""
    return "< .001" if value < 0.001 else f"{value:.3f}".replace("0.", ".", 1)

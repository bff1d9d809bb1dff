"""Whole-number noise for counts, exact to the last bit.

A count with discrete Laplace noise of scale sensitivity / epsilon is epsilon-differentially private (Ghosh,
Roughgarden and Sundararajan 2009, https://arxiv.org/abs/0811.2841). It is drawn in whole numbers only, as in
Canonne, Kamath and Steinke 2020 (https://arxiv.org/abs/2004.00010, algorithms 1 and 2): rounding of floats, which
gives noise away (Mironov 2012), has no place in it. All randomness is the operating system's; nothing can seed it.
"""

import math
import secrets
from fractions import Fraction


def draw_discrete_laplace(scale: Fraction) -> int:
    """One whole number k with probability proportional to exp(-|k| / scale).

    Args:
        scale: More than 0; the sensitivity of the count divided by epsilon.

    Raises:
        ValueError: the scale is not more than 0.
    """
    if scale <= 0:
        raise ValueError(f"scale is {scale}, it must be more than 0")
    while True:
        offset = secrets.randbelow(scale.numerator)
        if not _happens_exp(Fraction(offset, scale.numerator)):
            continue
        num_units = 0
        while _happens_exp(Fraction(1)):
            num_units += 1
        size = (offset + scale.numerator * num_units) // scale.denominator
        is_negative = secrets.randbelow(2) == 1
        if size or not is_negative:  # zero once, not once per sign
            return -size if is_negative else size


def margin(scale: Fraction, *, confidence: float) -> int:
    """The smallest m such that noise lies in [-m, m] with at least this probability, in (0, 1)."""
    ratio = math.exp(-1 / scale)
    outside = (1 - confidence) * (1 + ratio) / 2
    return max(0, math.ceil(float(-scale) * math.log(outside)) - 1)


def _happens_exp(rate: Fraction) -> bool:
    """True with probability exp(-rate), for a rate in [0, 1]."""
    num_trials = 1
    while secrets.randbelow(rate.denominator * num_trials) < rate.numerator:
        num_trials += 1
    return num_trials % 2 == 1

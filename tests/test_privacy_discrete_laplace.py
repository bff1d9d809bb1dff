"""Noise on counts: the right distribution, told from wrong ones, and drawn where nothing can seed it."""

import math
import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from privacy.discrete_laplace import draw_discrete_laplace, margin

NUM_DRAWS = 20_000
LIMIT = 8.0
"""Standard deviations of a chi-square; the right distribution passes it once in far more than a million times."""


def probability(value: int, scale: float) -> float:
    """Of one whole number (Canonne, Kamath and Steinke 2020, definition 1)."""
    ratio = math.exp(-1 / scale)
    return (1 - ratio) / (1 + ratio) * ratio ** abs(value)


def misfit(seen: Counter[int], scale: float) -> float:
    """Chi-square of draws against the distribution, in standard deviations above its mean."""
    num_draws, reach = seen.total(), 0
    while num_draws * probability(reach + 1, scale) >= 20:
        reach += 1
    inner = range(-reach, reach + 1)
    observed = [seen[value] for value in inner]
    expected = [num_draws * probability(value, scale) for value in inner]
    observed.append(num_draws - sum(observed))
    expected.append(num_draws - sum(expected))
    pairs = zip(observed, expected, strict=True)
    chi_square = sum((one - two) ** 2 / two for one, two in pairs)
    freedom = len(inner)
    return (chi_square - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(1), Fraction(7, 2), Fraction(21)])
def test_draws_follow_the_distribution_and_no_wider_or_narrower_one(scale: Fraction) -> None:
    seen = Counter(draw_discrete_laplace(scale) for _ in range(NUM_DRAWS))
    assert misfit(seen, float(scale)) < LIMIT
    for wrong in (0.85, 1.15):
        assert misfit(seen, wrong * float(scale)) > LIMIT


def test_zero_is_drawn_once_and_not_once_per_sign() -> None:
    draws = [draw_discrete_laplace(Fraction(1)) for _ in range(NUM_DRAWS)]
    share, expected = draws.count(0) / NUM_DRAWS, probability(0, 1.0)
    assert share == pytest.approx(expected, abs=6 * math.sqrt(expected / NUM_DRAWS))
    signs = sum(np.sign(draws))
    assert abs(signs) < 6 * math.sqrt(NUM_DRAWS)


def test_a_scale_from_a_float_is_used_to_its_last_bit() -> None:
    scale = 21 / Fraction(0.1)
    assert scale.denominator > 1
    draws = [draw_discrete_laplace(scale) for _ in range(300)]
    assert 100 < np.mean(np.abs(draws)) < 400


def test_a_seeded_process_draws_different_noise() -> None:
    def seeded() -> list[int]:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002, TID251  what must have no effect
        return [draw_discrete_laplace(Fraction(1000)) for _ in range(20)]

    assert seeded() != seeded()


@pytest.mark.parametrize("scale", [Fraction(0), Fraction(-1)])
def test_a_scale_that_is_no_scale_is_refused(scale: Fraction) -> None:
    with pytest.raises(ValueError, match="it must be more than 0"):
        draw_discrete_laplace(scale)


@pytest.mark.parametrize("scale", [Fraction(1, 1000), Fraction(1), Fraction(7, 2), Fraction(21)])
def test_the_margin_is_the_smallest_that_holds_enough(scale: Fraction) -> None:
    size = margin(scale, confidence=0.95)
    inside = sum(probability(value, float(scale)) for value in range(-size, size + 1))
    narrower = sum(probability(value, float(scale)) for value in range(-size + 1, size))
    assert narrower < 0.95 <= inside

"""Frechet distances against closed forms; what their report adds; what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.evaluation.features import FeaturesUnusable
from model.evaluation.frechet import Moments, frechet, frechet_infinite, frechet_of_moments

seeds = st.integers(0, 2**32 - 1)


def normal(seed: int, num: int, width: int, *, at: float = 0.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(at, 1.0, (num, width))


def test_independent_features_have_the_distance_of_means_and_spreads() -> None:
    # |m1 - m2|^2 + sum (s1 - s2)^2, the closed form for covariances that commute (Dowson and Landau 1982)
    first = Moments(mean=np.array([0.0, 1.0]), covariance=np.diag([4.0, 9.0]))
    second = Moments(mean=np.array([1.0, 3.0]), covariance=np.diag([1.0, 25.0]))
    assert frechet_of_moments(first, second) == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 5) ** 2)


@given(seed=seeds)
def test_the_distance_is_that_of_the_nuclear_norm(seed: int) -> None:
    # tr (C1^1/2 C2 C1^1/2)^1/2 is the sum of the singular values of X1 X2^T, over the degrees of freedom
    one, two = normal(seed, 9, 4), normal(seed + 1, 7, 4, at=0.3) * 2
    centred = one - one.mean(axis=0), two - two.mean(axis=0)
    shared = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / np.sqrt(8 * 6)
    traces = np.square(centred[0]).sum() / 8 + np.square(centred[1]).sum() / 6
    expected = np.square(one.mean(axis=0) - two.mean(axis=0)).sum() + traces - 2 * shared
    assert frechet(one, two) == pytest.approx(expected)


@given(seed=seeds)
def test_the_distance_is_symmetric_and_none_to_itself(seed: int) -> None:
    one, two = normal(seed, 20, 5), normal(seed + 1, 30, 5, at=0.5)
    assert frechet(one, two) == pytest.approx(frechet(two, one))
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)


@given(seed=seeds)
def test_turning_both_sets_changes_nothing(seed: int) -> None:
    one, two = normal(seed, 20, 5), normal(seed + 1, 30, 5, at=0.5)
    turn, _ = np.linalg.qr(normal(seed + 2, 5, 5))
    assert frechet(one @ turn, two @ turn) == pytest.approx(frechet(one, two))


def test_features_that_never_vary_have_a_distance() -> None:
    flat = np.ones((10, 3))
    assert frechet(flat, flat + 2) == pytest.approx(12)


def test_the_distance_of_one_distribution_falls_with_the_number_of_records_but_not_its_limit() -> (
    None
):
    few, many = (frechet(normal(1, num, 32), normal(2, num, 32)) for num in (100, 800))
    assert few > 5 * many > 0
    limit = frechet_infinite(
        normal(1, 800, 32), normal(2, 800, 32), generator=np.random.default_rng(3)
    )
    assert abs(limit) < many / 4


def test_the_limit_of_a_shift_is_its_square() -> None:
    limit = frechet_infinite(
        normal(1, 1500, 16), normal(2, 1500, 16, at=0.5), generator=np.random.default_rng(3)
    )
    assert limit == pytest.approx(16 * 0.5**2, rel=0.1)


def test_one_record_is_refused() -> None:
    with pytest.raises(
        FeaturesUnusable, match="synthetic features are of 1 record: use at least 2"
    ):
        frechet(normal(1, 9, 3), normal(2, 1, 3))


def test_values_that_are_not_finite_are_refused() -> None:
    broken = normal(1, 9, 3)
    broken[4, 1] = np.nan
    with pytest.raises(FeaturesUnusable, match="real features hold values that are not finite"):
        frechet(broken, normal(2, 9, 3))

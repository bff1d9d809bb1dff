"""What right guesses prove, and how well scores tell members from others."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from privacy.audit.one_run import epsilon_proven, lower_bound, p_value
from privacy.audit.roc import area, exact_interval, separation, true_positive_rate

# Computed once with an independent implementation of the theorem: m = 2000, delta = 1e-5, significance 0.05.
PROVEN_BY_ALL_RIGHT = {20: 1.76, 100: 3.44, 500: 5.06, 1000: 5.76, 2000: 6.45}


@pytest.mark.parametrize(("num_guesses", "epsilon"), PROVEN_BY_ALL_RIGHT.items())
def test_right_guesses_alone_prove_no_more_than_their_number_allows(
    num_guesses: int, epsilon: float
) -> None:
    proven = epsilon_proven(
        num_canaries=2000,
        num_guesses=num_guesses,
        num_right=num_guesses,
        delta=1e-5,
        significance=0.05,
    )

    assert proven == pytest.approx(epsilon, abs=0.005)


def test_as_many_wrong_as_right_guesses_prove_nothing() -> None:
    assert (
        epsilon_proven(
            num_canaries=1000, num_guesses=100, num_right=50, delta=1e-5, significance=0.05
        )
        == 0.0
    )


def test_without_delta_the_p_value_is_the_tail_of_independent_coins() -> None:
    right = math.exp(1.0) / (1 + math.exp(1.0))
    tail = sum(math.comb(10, v) * right**v * (1 - right) ** (10 - v) for v in (9, 10))

    assert p_value(
        num_canaries=50, num_guesses=10, num_right=9, epsilon=1.0, delta=0.0
    ) == pytest.approx(tail, rel=1e-12)


def test_delta_adds_what_the_worst_rare_event_could_explain() -> None:
    coins = list(itertools.product([0, 1], repeat=4))
    exactly = [sum(sum(c) == v for c in coins) / len(coins) for v in range(5)]
    worst = max(sum(exactly[3 - i : 3]) / i for i in (1, 2, 3))
    expected = exactly[3] + exactly[4] + 2 * 6 * 0.001 * worst

    assert p_value(
        num_canaries=6, num_guesses=4, num_right=3, epsilon=0.0, delta=0.001
    ) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("counts", [(10, 11, 5), (10, 5, 6)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="canaries"):
        p_value(
            num_canaries=counts[0],
            num_guesses=counts[1],
            num_right=counts[2],
            epsilon=1.0,
            delta=0.0,
        )


def test_training_that_is_exactly_as_private_as_claimed_is_seldom_accused() -> None:
    # Randomised response tells each coin with probability e / (1 + e): the worst case of epsilon = 1 without delta.
    rng = np.random.default_rng(3)
    accused = 0
    for _ in range(60):
        is_in = rng.random(300) < 0.5
        told = is_in ^ (rng.random(300) > math.e / (1 + math.e))
        scores = told + 1e-3 * rng.random(300)
        accused += lower_bound(scores, is_in, delta=0.0).epsilon > 1.0

    # At most 5 % in theory, so 3 of 60: 11 or more would happen once in ten thousand times.
    assert accused < 11


def test_scores_that_know_the_coins_prove_as_much_as_their_number_allows() -> None:
    is_in = np.random.default_rng(4).permutation(np.arange(1000) < 500)

    bound = lower_bound(is_in.astype(np.float64), is_in, delta=1e-5)

    assert (bound.num_guesses, bound.num_right) == (1000, 1000)
    assert 5.0 < bound.epsilon < PROVEN_BY_ALL_RIGHT[1000]  # less than with one try: Bonferroni


def test_scores_turned_upside_down_prove_nothing() -> None:
    is_in = np.arange(1000) % 2 == 0

    assert lower_bound(-is_in.astype(np.float64), is_in, delta=1e-5).epsilon == 0.0


def test_a_score_that_is_not_finite_ends_the_audit() -> None:
    with pytest.raises(ValueError, match="finite"):
        lower_bound(np.array([1.0, np.nan]), np.array([True, False]), delta=0.0)


def test_the_area_counts_pairs_in_the_right_order_and_ties_half() -> None:
    members, others = np.array([1.0, 2.0, 2.0]), np.array([0.0, 2.0])

    pairs = [(m > o) + 0.5 * (m == o) for m, o in itertools.product(members, others)]

    assert area(members, others) == pytest.approx(np.mean(pairs))


def test_no_more_of_the_others_pass_than_allowed() -> None:
    others = np.arange(300.0)
    members = np.array([295.0, 296.0, 296.5, 297.0, 500.0])

    assert true_positive_rate(members, others, max_fpr=0.01) == pytest.approx(3 / 5)
    assert true_positive_rate(members, others[:50], max_fpr=0.01) == 1.0
    assert true_positive_rate(others, others, max_fpr=0.0) == 0.0


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    truth = norm.cdf(1.0 / math.sqrt(2))
    held = 0
    for _ in range(40):
        found = separation(
            rng.normal(1.0, 1.0, 80), rng.normal(0.0, 1.0, 80), generator=rng, num_resamples=100
        )
        held += found.auc.low <= truth <= found.auc.high

    # 95 % of 40 are 38; below 32 would happen once in ten thousand times.
    assert held >= 32


def test_wide_intervals_tell_few_patients_from_many() -> None:
    rng = np.random.default_rng(6)
    few = separation(rng.normal(1, 1, 20), rng.normal(0, 1, 20), generator=rng)
    many = separation(rng.normal(1, 1, 2000), rng.normal(0, 1, 2000), generator=rng)

    assert few.auc.high - few.auc.low > 4 * (many.auc.high - many.auc.low)
    assert few.tpr.high - few.tpr.low > 2 * (many.tpr.high - many.tpr.low)
    assert many.tpr.low < norm.sf(norm.isf(0.01) - 1.0) < many.tpr.high


def test_all_or_none_named_is_still_uncertain() -> None:
    assert exact_interval(0, 20, 0.95) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert exact_interval(20, 20, 0.95) == pytest.approx((0.025 ** (1 / 20), 1.0))
    found = separation(np.ones(20), np.zeros(20), generator=np.random.default_rng(7))
    assert (found.tpr.low, found.tpr.high) == pytest.approx((0.025 ** (1 / 20), 1.0))


def test_one_side_without_patients_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="both must be there"):
        separation(np.ones(3), np.ones(0), generator=np.random.default_rng(8))

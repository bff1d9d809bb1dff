"""Epsilon: an upper bound that another library confirms, and that keeps the laws of composition."""

import math
import warnings

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant

from privacy.accounting.epsilon import (
    ADJACENCY,
    DeltaTooLarge,
    check_delta,
    combined_noise,
    epsilon,
)
from privacy.accounting.phase import Phase, merge
from privacy.accounting.prv import MIN_ERROR, prv_epsilon
from privacy.accounting.rdp import rdp_epsilon

DELTA = 1e-5
NUMERICAL = 2 * MIN_ERROR
"""How far two estimates of the same epsilon may lie apart."""
MECHANISMS = {
    "usual": ([(1.0, 0.01, 1000)], 1e-5),
    "little-noise": ([(0.7, 0.02, 2000)], 1e-5),
    "many-patients": ([(2.0, 0.1, 500)], 1e-6),
    "two-phases": ([(1.0, 0.05, 300), (1.3, 0.02, 700)], 1e-5),
    "weak": ([(0.6, 0.25, 40)], 1e-4),
    "half": ([(4.0, 0.5, 200)], 1e-5),
}


def phase(noise_multiplier: float, sample_rate: float, num_steps: int) -> Phase:
    return Phase(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps)


def loss_distribution_epsilon(numbers: list[tuple[float, float, int]], delta: float) -> float:
    """What dp-accounting says of the same steps, by privacy loss distributions."""
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    for noise_multiplier, sample_rate, num_steps in numbers:
        step = PoissonSampledDpEvent(sample_rate, GaussianDpEvent(noise_multiplier))
        accountant.compose(step, num_steps)
    return float(accountant.get_epsilon(delta))


cheap_phases = st.lists(
    st.builds(
        phase,
        st.sampled_from([0.9, 1.1, 2.0, 6.0]),
        st.sampled_from([0.004, 0.02, 0.1, 1.0]),
        st.integers(1, 12),
    ),
    min_size=1,
    max_size=2,
)


@pytest.mark.slow
@pytest.mark.parametrize(("numbers", "delta"), MECHANISMS.values(), ids=MECHANISMS)
def test_epsilon_is_an_upper_bound_within_two_hundredths_of_another_librarys(
    numbers: list[tuple[float, float, int]], delta: float
) -> None:
    ours = epsilon([phase(*each) for each in numbers], delta)
    theirs = loss_distribution_epsilon(numbers, delta)
    assert theirs - 1e-3 <= ours.value <= theirs + 0.02
    assert ours.value <= ours.rdp


def test_own_bins_give_what_opacus_gives_with_its_own() -> None:
    stock = PRVAccountant()
    stock.history = [(2.0, 0.1, 500)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = stock.get_epsilon(1e-6)
    assert prv_epsilon([phase(2.0, 0.1, 500)], 1e-6) == pytest.approx(expected, abs=1e-4)


def test_rounds_cost_less_than_their_sum_and_far_more_than_the_last_of_them() -> None:
    one = epsilon([phase(0.8, 0.05, 20)], DELTA).value
    lifetime = epsilon([phase(0.8, 0.05, 20)] * 50, DELTA).value
    assert one == pytest.approx(3.39, abs=0.01)
    assert lifetime == pytest.approx(17.59, abs=0.01)


def test_hundreds_of_equal_rounds_are_one_phase() -> None:
    merged = merge([phase(1.0, 0.02, 50), phase(1.3, 0.02, 50)] * 400)
    assert merged == (phase(1.0, 0.02, 20_000), phase(1.3, 0.02, 20_000))


@pytest.mark.slow
@settings(max_examples=5)
@given(phases=cheap_phases, more=st.integers(1, 60))
def test_more_steps_never_lower_epsilon(phases: list[Phase], more: int) -> None:
    first = phases[0]
    longer = phase(first.noise_multiplier, first.sample_rate, first.num_steps + more)
    before, after = epsilon(phases, DELTA), epsilon([longer, *phases[1:]], DELTA)
    assert after.value >= before.value - 1e-3
    assert after.rdp >= before.rdp


@pytest.mark.slow
@settings(max_examples=5)
@given(phases=cheap_phases)
def test_a_larger_rate_or_less_noise_never_lower_epsilon(phases: list[Phase]) -> None:
    first, before = phases[0], epsilon(phases, DELTA)
    rate = min(1.0, first.sample_rate * 1.5)
    for dearer in (
        phase(first.noise_multiplier, rate, first.num_steps),
        phase(first.noise_multiplier * 0.8, first.sample_rate, first.num_steps),
    ):
        after = epsilon([dearer, *phases[1:]], DELTA)
        assert after.value >= before.value - 1e-3
        assert after.rdp >= before.rdp


@pytest.mark.slow
@settings(max_examples=5)
@given(phases=cheap_phases, extra=cheap_phases)
def test_spending_more_never_lowers_epsilon(phases: list[Phase], extra: list[Phase]) -> None:
    together = epsilon(phases + extra, DELTA).value
    assert together >= max(epsilon(phases, DELTA).value, epsilon(extra, DELTA).value) - 1e-3


@given(phases=cheap_phases)
def test_neither_order_nor_the_cut_into_phases_matters(phases: list[Phase]) -> None:
    halves = [
        part
        for each in phases
        for part in (
            phase(each.noise_multiplier, each.sample_rate, each.num_steps),
            phase(each.noise_multiplier, each.sample_rate, 1),
        )
    ]
    whole = [phase(p.noise_multiplier, p.sample_rate, p.num_steps + 1) for p in phases]
    assert merge(halves) == merge(reversed(whole))
    assert merge(merge(halves)) == merge(halves)


def test_nothing_spent_is_nothing() -> None:
    assert epsilon([], DELTA).value == 0.0


def test_where_prv_is_hopeless_rdp_answers_at_once() -> None:
    spent = epsilon([phase(0.5, 0.5, 2000)], DELTA)
    assert math.isinf(spent.prv)
    assert spent.source == "rdp"
    assert 1629 < spent.value < math.inf  # dp-accounting says 1629


@pytest.mark.parametrize("noise_multiplier", [1e-3, 1e6])
def test_no_phase_a_coordinator_could_ask_for_takes_long_to_account_for(
    noise_multiplier: float,
) -> None:
    assert rdp_epsilon([phase(noise_multiplier, 0.5, 10**9)], DELTA) > 0


def test_where_nothing_can_be_said_epsilon_is_infinite_and_blocks() -> None:
    spent = epsilon([phase(1e-200, 0.5, 1)], DELTA)
    assert spent.value == math.inf
    assert not spent.value <= 1e300


def test_an_infinite_phase_is_not_lost_among_finite_ones() -> None:
    assert epsilon([phase(2.0, 0.1, 10), phase(1e-200, 0.5, 1)], DELTA).value == math.inf


def test_a_tiny_spending_is_not_rounded_up_to_the_error_of_prv() -> None:
    spent = epsilon([phase(16.0, 0.0025, 1)], DELTA)
    assert spent.source == "rdp"
    assert 0 < spent.value < MIN_ERROR


def test_noise_too_small_to_square_is_still_combined() -> None:
    assert combined_noise(1e-200, 5.0) == pytest.approx(1e-200)


@pytest.mark.parametrize("noises", [(2.0, 3.0), (1.0, 8.0, 8.0)])
def test_several_releases_of_one_draw_cost_what_the_one_they_amount_to_costs(
    noises: tuple[float, ...],
) -> None:
    apart = epsilon([phase(noise, 1.0, 3) for noise in noises], DELTA)
    at_once = epsilon([phase(combined_noise(*noises), 1.0, 3)], DELTA)
    assert at_once.rdp == pytest.approx(apart.rdp, rel=1e-9)
    assert at_once.value == pytest.approx(apart.value, abs=NUMERICAL)
    assert at_once.value > epsilon([phase(min(noises), 1.0, 3)], DELTA).value


@pytest.mark.parametrize(("delta", "num_patients"), [(1e-3, 1000), (0.01, 1000), (0.5, 2)])
def test_a_delta_that_lets_somebody_be_published_is_refused(
    delta: float, num_patients: int
) -> None:
    with pytest.raises(DeltaTooLarge, match=f"for {num_patients} patients"):
        check_delta(delta, num_patients)
    check_delta(0.99 / num_patients, num_patients)


@pytest.mark.parametrize("delta", [0.0, -1e-6, 1.0, math.nan, math.inf])
def test_a_delta_that_is_no_probability_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        epsilon([phase(1.0, 0.1, 1)], delta)


@pytest.mark.parametrize(
    ("noise_multiplier", "sample_rate", "num_steps"),
    [
        (0.0, 0.1, 1),
        (-1.0, 0.1, 1),
        (math.inf, 0.1, 1),
        (math.nan, 0.1, 1),
        (1.0, 0.0, 1),
        (1.0, 1.1, 1),
        (1.0, math.nan, 1),
        (1.0, 0.1, 0),
        (1.0, 0.1, -5),
    ],
)
def test_steps_without_an_accounting_cannot_be_written_down(
    noise_multiplier: float, sample_rate: float, num_steps: int
) -> None:
    with pytest.raises(ValueError, match="must be"):
        phase(noise_multiplier, sample_rate, num_steps)


def test_an_epsilon_is_never_printed_without_delta_and_adjacency() -> None:
    text = str(epsilon([phase(1.0, 0.01, 10)], 1e-6))
    assert "delta 1e-06" in text
    assert ADJACENCY in text

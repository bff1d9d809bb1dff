"""From a wanted epsilon to the noise that brings it about, on the safe side."""

import math

import pytest

from privacy.accounting.epsilon import epsilon
from privacy.accounting.noise import (
    PRECISION,
    NoNoiseSuffices,
    noise_multiplier_for,
    noise_to_signal,
)
from privacy.accounting.phase import Phase


def spent(noise_multiplier: float, delta: float, sample_rate: float, num_steps: int) -> float:
    steps = Phase(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps)
    return epsilon([steps], delta).value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "delta", "sample_rate", "num_steps"),
    [(1.0, 1e-6, 0.05, 300), (8.0, 1e-5, 0.128, 300), (0.5, 1e-6, 1.0, 1)],
)
def test_the_noise_found_suffices_and_hardly_less_would(
    wanted: float, delta: float, sample_rate: float, num_steps: int
) -> None:
    found = noise_multiplier_for(wanted, delta, sample_rate, num_steps)
    assert spent(found, delta, sample_rate, num_steps) <= wanted
    assert spent(found / (1 + 2 * PRECISION), delta, sample_rate, num_steps) > wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_patients", "drawn", "wanted", "expected"),
    [(1000, 128, 3.0, 2.61), (5000, 256, 8.0, 0.82), (100_000, 1024, 1.0, 1.09)],
)
def test_the_noise_of_known_hospitals_is_found_again(
    num_patients: int, drawn: int, wanted: float, expected: float
) -> None:
    """Computed with Opacus alone, at delta n ** -1.1 and 300 steps."""
    found = noise_multiplier_for(wanted, num_patients**-1.1, drawn / num_patients, 300)
    assert found == pytest.approx(expected, rel=0.02)


def test_an_epsilon_below_what_any_noise_gives_is_refused() -> None:
    with pytest.raises(NoNoiseSuffices, match=r"epsilon down to 0\.0001 at delta 1e-06"):
        noise_multiplier_for(1e-4, 1e-6, 0.1, 100)


@pytest.mark.parametrize("wanted", [0.0, -1.0, math.inf, math.nan])
def test_an_epsilon_that_is_no_wish_is_refused(wanted: float) -> None:
    with pytest.raises(ValueError, match="must be finite and above 0"):
        noise_multiplier_for(wanted, 1e-6, 0.1, 100)


def test_noise_is_measured_against_the_longest_possible_sum() -> None:
    alone = noise_to_signal(0.82, num_parameters=10**6, patients_per_step=256.0)
    assert alone == pytest.approx(3.2, abs=0.01)
    quarter = noise_to_signal(0.82, num_parameters=10**6 // 4, patients_per_step=256.0)
    assert quarter == pytest.approx(alone / 2)

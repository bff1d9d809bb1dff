"""Randomness that hides patients: its distributions, and that nothing can repeat it."""

import os

import numpy as np
import pytest
import torch
from scipy import stats

from privacy.training.entropy import AT_ONCE, SystemEntropy, shuffled
from privacy.training.patients import draw_patients

COUNT = 200_000
UNLIKELY = 1e-6
"""A test with this bound fails once in a million runs of correct code."""


def test_noise_is_normal_to_the_last_of_many_numbers() -> None:
    noise = SystemEntropy().normal(COUNT)
    assert stats.kstest(noise, "norm").pvalue > UNLIKELY


@pytest.mark.parametrize("scale", [0.97, 1.03])
def test_noise_of_another_scale_would_be_noticed(scale: float) -> None:
    noise = scale * SystemEntropy().normal(COUNT)
    assert stats.kstest(noise, "norm").pvalue < UNLIKELY


def test_uniform_numbers_are_uniform_and_below_one() -> None:
    numbers = SystemEntropy().uniform(COUNT)
    assert stats.kstest(numbers, "uniform").pvalue > UNLIKELY
    assert 0 <= numbers.min() <= numbers.max() < 1


def test_noise_is_finer_than_float32() -> None:
    noise = SystemEntropy().normal(COUNT)
    assert len(np.unique(noise)) == COUNT
    assert (noise != noise.astype(np.float32)).mean() > 0.99


def test_pieces_of_a_long_draw_are_unrelated() -> None:
    noise = SystemEntropy().normal(2 * AT_ONCE + 1)
    first, second = noise[:AT_ONCE], noise[AT_ONCE : 2 * AT_ONCE]
    assert len(noise) == 2 * AT_ONCE + 1
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(AT_ONCE)


@pytest.mark.parametrize("count", [0, 1, 3, AT_ONCE + 1])
def test_any_number_of_draws_can_be_had(count: int) -> None:
    assert len(SystemEntropy().normal(count)) == len(SystemEntropy().uniform(count)) == count


def test_known_seeds_of_other_generators_repeat_nothing() -> None:
    draws = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(1)
            draws.append(SystemEntropy().normal(8).tolist())
    assert draws[0] != draws[1]


def test_two_generators_for_torch_differ() -> None:
    entropy = SystemEntropy()
    first, second = (torch.rand(4, generator=entropy.torch_generator()) for _ in range(2))
    assert not torch.equal(first, second)


def test_a_forked_process_does_not_repeat_its_parents_noise() -> None:
    entropy = SystemEntropy()
    entropy.normal(1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, entropy.normal(4).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 64) != entropy.normal(4).tobytes()


def test_every_order_is_equally_likely() -> None:
    entropy = SystemEntropy()
    orders = [tuple(shuffled(3, entropy)) for _ in range(6000)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > UNLIKELY


def sizes_and_rates(sample_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of patients in many draws out of 40, and how often each patient was drawn."""
    entropy = SystemEntropy()
    drawn = np.zeros((5000, 40))
    for row in drawn:
        row[draw_patients(40, sample_rate, entropy)] = 1
    return drawn.sum(axis=1), drawn.sum(axis=0)


def test_every_patient_is_drawn_at_the_sample_rate_by_a_coin_of_their_own() -> None:
    sizes, times = sizes_and_rates(0.3)
    expected = stats.binom.pmf(np.arange(41), 40, 0.3) * len(sizes)
    common = expected > 5
    observed = np.bincount(sizes.astype(int), minlength=41)[common]
    scaled = expected[common] * observed.sum() / expected[common].sum()
    assert stats.chisquare(observed, scaled).pvalue > UNLIKELY  # a batch of fixed size fails here
    assert abs(times - 0.3 * 5000).max() < 5.5 * np.sqrt(5000 * 0.3 * 0.7)


def test_a_wrong_sample_rate_would_be_noticed() -> None:
    _, times = sizes_and_rates(0.35)
    assert abs(times - 0.3 * 5000).max() > 5.5 * np.sqrt(5000 * 0.3 * 0.7)


def test_a_sample_rate_of_one_draws_everyone() -> None:
    np.testing.assert_array_equal(draw_patients(7, 1.0, SystemEntropy()), np.arange(7))


def test_a_hospital_without_patients_draws_nobody() -> None:
    assert len(draw_patients(0, 0.5, SystemEntropy())) == 0

"""The rehearsal: fake patients that the real private training must hide. What it must find is in test_privacy_mutants."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from privacy.audit.canaries import (
    CanaryNetwork,
    Plan,
    Rehearsal,
    best_bound,
    rehearse,
    train_canaries,
)
from privacy.training.checks import check_network
from privacy.training.entropy import SystemEntropy
from privacy.training.gradients import Clipper, Ghost, Materialised

WAYS = [Ghost, Materialised]
Way = Callable[[nn.Module], Clipper]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nobody_can_tell_who_was_in_a_training_that_keeps_its_promise(way: Way) -> None:
    # Noise and coins are the operating system's, so this could fail by chance: once in 10**9 runs by the theory of
    # normal scores (posterior of each coin given the scores, saddle point of the sum of right guesses).
    rehearsal = rehearse(way=way)

    assert rehearsal.verdict == "pass"
    assert 0.9 < rehearsal.claimed_epsilon < 1.1
    assert rehearsal.num_canaries == 2500
    assert rehearsal.num_right <= rehearsal.num_guesses <= rehearsal.num_canaries


def test_a_fifth_of_the_noise_shows_that_the_rehearsal_can_see() -> None:
    rehearsal = rehearse(Plan(num_layers=4), way=Ghost, noise_share=0.2)

    assert rehearsal.verdict == "fail"
    assert rehearsal.lower_bound > 1.2 * rehearsal.claimed_epsilon


@pytest.mark.parametrize("way", WAYS)
def test_a_canary_moves_its_own_direction_by_the_bound_and_no_other(way: Way) -> None:
    plan = Plan(side=4, num_layers=3, num_steps=2)
    plan = replace(plan, mechanism=replace(plan.mechanism, sample_rate=1.0))
    is_in = np.arange(16) % 3 == 0

    releases = train_canaries(plan, is_in, way=way, noise_share=0.0, entropy=SystemEntropy())

    moved = plan.mechanism.max_grad_norm / plan.mechanism.batch_size
    np.testing.assert_allclose(releases, [moved * is_in] * 2, rtol=1e-5)


def test_the_noise_along_a_direction_is_that_of_the_claim() -> None:
    plan = Plan(num_steps=4, num_layers=2)
    nobody = np.zeros(plan.num_canaries, dtype=bool)

    releases = train_canaries(plan, nobody, way=Ghost, noise_share=1.0, entropy=SystemEntropy())

    scale = plan.mechanism.noise_scale / plan.mechanism.batch_size
    # 10 000 numbers: the standard deviation of their standard deviation is 0.7 %, so 4 % is 5.7 of it.
    assert releases.std() == pytest.approx(scale, rel=0.04)


def test_the_network_of_the_rehearsal_is_one_that_private_training_accepts() -> None:
    check_network(CanaryNetwork(3, 2))


def test_directions_have_length_one() -> None:
    network = CanaryNetwork(3, 4)
    for layer in network.layers:
        nn.init.constant_(layer.get_parameter("weight"), 0.5)

    torch.testing.assert_close(network.along_canaries(), torch.full((9,), 0.5 * 4 / 4**0.5))


def test_noise_that_repeats_itself_is_seen_by_who_looks_at_every_step() -> None:
    rng = np.random.default_rng(1)
    is_in = rng.random(2500) < 0.5
    drawn = is_in & (rng.random((25, 2500)) < 0.25)

    fresh = best_bound(drawn + 5 * rng.normal(size=(25, 2500)), is_in, delta=1e-5)
    repeated = best_bound(drawn + 5 * rng.normal(size=2500), is_in, delta=1e-5)

    assert fresh.epsilon < 1.0 < repeated.epsilon


@pytest.mark.parametrize(("lower_bound", "verdict"), [(1.01, "fail"), (1.0, "pass"), (0.0, "pass")])
def test_the_verdict_compares_what_was_proven_with_the_claim(
    lower_bound: float, verdict: str
) -> None:
    rehearsal = Rehearsal(
        claimed_epsilon=1.0,
        delta=1e-5,
        lower_bound=lower_bound,
        num_canaries=10,
        num_guesses=4,
        num_right=3,
    )

    assert rehearsal.verdict == verdict

"""Samplers against a field whose path is known, and guidance that acts where and when it should."""

import itertools

import pytest
import torch
from torch import Tensor

from model.conditioning import Schema
from model.config import model_config
from model.sampler import Method, sample, time_grid
from model.transformer import initial_network

SPREAD = 0.15
CONDITION = torch.ones(4, 20)


def gaussian(noisy: Tensor, t: Tensor, _condition: Tensor) -> Tensor:
    """Best guess of an image whose pixels are independent, with standard deviation SPREAD.

    The exact path from noise n at t = 1 is n * sqrt((1 - t)^2 SPREAD^2 + t^2), so it ends at
    SPREAD * n.
    """
    level = t[..., None, None, None]
    signal = (1 - level) * SPREAD**2
    return noisy * signal / ((1 - level) * signal + level**2)


def error(method: Method, num_steps: int) -> float:
    """Largest distance from the end of the exact path."""
    seed = torch.Generator().manual_seed(1)
    noise = torch.randn(4, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    images = sample(
        gaussian,
        CONDITION,
        image_size=256,
        num_steps=num_steps,
        guidance=1.0,
        method=method,
        generator=seed,
    )
    return float((images - SPREAD * noise).abs().max())


@pytest.mark.slow
def test_twice_the_steps_halve_the_error_of_euler_and_quarter_that_of_heun() -> None:
    euler = [error("euler", steps) for steps in (64, 128, 256)]
    heun = [error("heun", steps) for steps in (64, 128, 256)]
    for coarse, fine in itertools.pairwise(euler):
        assert coarse / fine == pytest.approx(2.0, rel=0.15)
    for coarse, fine in itertools.pairwise(heun):
        assert coarse / fine == pytest.approx(4.0, rel=0.2)
    assert heun[0] < euler[0]


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_a_network_that_knows_the_image_is_led_to_it(method: Method) -> None:
    target = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    images = sample(
        lambda noisy, t, c: target[:, None],
        CONDITION,
        image_size=16,
        num_steps=5,
        guidance=1.0,
        method=method,
        generator=torch.Generator().manual_seed(3),
    )
    torch.testing.assert_close(images, target, atol=1e-5, rtol=0)


def calls(guidance: float, method: Method) -> list[tuple[float, bool]]:
    """Noise level of every network call, and whether it came with a condition."""
    seen: list[tuple[float, bool]] = []

    def remember(noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        seen.append((float(t[0, 0]), not bool(condition[..., 0].isnan().all())))
        return noisy

    sample(
        remember,
        CONDITION,
        image_size=256,
        num_steps=4,
        guidance=guidance,
        method=method,
        generator=torch.Generator().manual_seed(4),
        interval=(0.3, 0.9),
    )
    return seen


def test_without_guidance_the_network_is_called_once_per_velocity() -> None:
    assert calls(1.0, "euler") == [(1.0, True), (0.75, True), (0.5, True), (0.25, True)]
    levels = [level for level, _ in calls(1.0, "heun")]
    assert levels == [1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]


def test_guidance_acts_only_inside_its_interval() -> None:
    unconditional = [level for level, conditional in calls(2.0, "euler") if not conditional]
    assert unconditional == [0.75, 0.5]


def test_guidance_moves_away_from_the_unconditional_image() -> None:
    def knows(noisy: Tensor, _t: Tensor, condition: Tensor) -> Tensor:
        known = ~condition[..., 0].isnan()[..., None, None, None]
        return torch.where(known, torch.full_like(noisy, 0.2), torch.full_like(noisy, 0.1))

    images = sample(
        knows,
        CONDITION,
        image_size=16,
        num_steps=3,
        guidance=3.0,
        method="euler",
        generator=torch.Generator().manual_seed(5),
        interval=(0.0, 1.0),
    )
    torch.testing.assert_close(images, torch.full_like(images, 0.1 + 3 * 0.1), atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_bits_without_a_gradient() -> None:
    network = initial_network(model_config("tiny", 32), Schema(), 1)
    torch.nn.init.normal_(network.head.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    first, second, other = (
        sample(
            network,
            CONDITION,
            image_size=32,
            num_steps=3,
            guidance=1.5,
            method="heun",
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (6, 6, 7)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not first.requires_grad
    assert first.shape == (4, 1, 32, 32)
    assert float(first.abs().max()) <= 1.0


def test_the_steps_lie_where_training_put_its_noise_levels() -> None:
    assert time_grid(2, 64) == [1.0, 0.2, 0.0]
    assert time_grid(2, 512) == pytest.approx([1.0, 2 / 3, 0.0])


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="num_steps is 0"):
        error("euler", 0)

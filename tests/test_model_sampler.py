"""Samplers against a field whose path is known, and guidance that acts where and when it should."""

import itertools

import pytest
import torch
from torch import Tensor

from model.conditioning import Schema
from model.config import model_config
from model.flow import Denoiser
from model.guidance import Guidance
from model.initial import initial_network
from model.sampler import Method, Sampling, sample, starting_noise, time_grid

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


def walk(
    network: Denoiser,
    noise: Tensor,
    *,
    num_steps: int,
    method: Method = "euler",
    guidance: float = 1.0,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Sample from the noise under the one condition."""
    sampling = Sampling(
        num_steps=num_steps, method=method, guidance=Guidance(scale=guidance, interval=interval)
    )
    return sample(network, CONDITION, noise, sampling, image_size=noise.shape[-1])


def noise_of(side: int, seed: int) -> Tensor:
    return starting_noise((1, side, side), seed=seed, numbers=range(len(CONDITION)))


def error(method: Method, num_steps: int) -> float:
    """Largest distance from the end of the exact path."""
    noise = noise_of(256, seed=1)
    images = walk(gaussian, noise, num_steps=num_steps, method=method)
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
    images = walk(
        lambda noisy, t, c: target[:, None], noise_of(16, seed=3), num_steps=5, method=method
    )
    torch.testing.assert_close(images, target, atol=1e-5, rtol=0)


def calls(guidance: float, method: Method) -> list[tuple[float, bool]]:
    """Noise level of every network call, and whether it came with a condition."""
    seen: list[tuple[float, bool]] = []

    def remember(noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        seen.append((float(t[0, 0]), not bool(condition[..., 0].isnan().all())))
        return noisy

    noise = noise_of(256, seed=4)
    walk(remember, noise, num_steps=4, method=method, guidance=guidance, interval=(0.3, 0.9))
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

    images = walk(knows, noise_of(16, seed=5), num_steps=3, guidance=3.0)
    torch.testing.assert_close(images, torch.full_like(images, 0.1 + 3 * 0.1), atol=1e-5, rtol=0)


def test_the_same_noise_gives_the_same_bits_without_a_gradient() -> None:
    network = initial_network(model_config("tiny", 32), Schema(), 1)
    torch.nn.init.normal_(network.head.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    first, second, other = (
        walk(network, noise_of(32, seed), num_steps=3, method="heun", guidance=1.5)
        for seed in (6, 6, 7)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not first.requires_grad
    assert first.shape == (4, 1, 32, 32)


def test_the_noise_of_a_picture_does_not_depend_on_what_is_drawn_beside_it() -> None:
    many = starting_noise((1, 8, 8), seed=3, numbers=range(5))
    assert torch.equal(starting_noise((1, 8, 8), seed=3, numbers=[4, 1]), many[[4, 1]])
    assert not torch.equal(starting_noise((1, 8, 8), seed=4, numbers=[1]), many[[1]])
    assert len({float(picture.sum()) for picture in many}) == 5


def test_the_steps_lie_where_training_put_its_noise_levels() -> None:
    assert time_grid(2, 64) == [1.0, 0.5, 0.0]
    assert time_grid(2, 512) == pytest.approx([1.0, 2 / 3, 0.0])


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="num_steps is 0"):
        error("euler", 0)

"""From noise to a radiograph: walk along the velocity from t = 1 to t = 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.flow import Denoiser, shift_t
from model.guidance import Condition, Guidance, Latents, guided_velocity

Method = Literal["euler", "heun"]
"""Euler: one velocity per step, error falls with the step. Heun: two, falls with its square."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How samples are drawn; with the seed and the condition it decides every bit of them."""

    num_steps: int
    """Steps from noise to image; Heun makes two network calls in all but the last."""

    guidance: Guidance
    method: Method

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}, it must be at least 1")
        if self.method not in get_args(Method):
            raise ValueError(
                f"there is no method {self.method!r}: give one of {', '.join(get_args(Method))}"
            )


def starting_noise(
    shape: tuple[int, int, int], *, seed: int, numbers: Sequence[int]
) -> Float[Tensor, "batch channel height width"]:
    """Standard normal noise, one picture per number, on the processor.

    A picture's noise depends on the seed and on its own number only, not on what is drawn beside it.

    Args:
        shape: (channel, height, width) of one picture.
        seed: at least 0.
        numbers: which pictures of the seed, each at least 0.
    """
    return torch.stack([torch.randn(shape, generator=_generator(seed, n)) for n in numbers])


@torch.no_grad()
def sample(
    network: Denoiser, condition: Condition, noise: Latents, sampling: Sampling, *, image_size: int
) -> Latents:
    """Walk from noise to one picture per row of ``condition``; not clipped.

    Args:
        network: predicts images, on the device of ``condition`` and ``noise``.
        condition: age in years or NaN, then ids with 0 for null.
        noise: where to begin; the only randomness.
        sampling: how to walk.
        image_size: side of the radiograph in pixels, which places the steps.
    """
    return walk(network, condition, noise, sampling, time_grid(sampling.num_steps, image_size))


@torch.no_grad()
def walk(
    network: Denoiser,
    condition: Condition,
    x: Latents,
    sampling: Sampling,
    levels: Sequence[float],
) -> Latents:
    """Walk from points at the first noise level to points at the last, one step from level to level."""
    for t, t_next in pairwise(levels):
        x = _step(network, x, condition, (t, t_next), sampling)
    return x


def time_grid(num_steps: int, image_size: int) -> list[float]:
    """Noise levels from 1 to 0, placed where training placed its own."""
    even = torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64)
    levels: list[float] = shift_t(even, image_size).tolist()
    return levels


def _step(
    network: Denoiser,
    x: Latents,
    condition: Condition,
    levels: tuple[float, float],
    sampling: Sampling,
) -> Latents:
    """One step; the last one, to t = 0 where there is no velocity, is Euler's for both methods."""
    t, t_next = levels
    slope = guided_velocity(network, x, t, condition, sampling.guidance)
    guess = x + (t_next - t) * slope
    if sampling.method == "euler" or t_next == 0.0:
        return guess
    there = guided_velocity(network, guess, t_next, condition, sampling.guidance)
    return x + (t_next - t) / 2 * (slope + there)


def _generator(seed: int, number: int) -> torch.Generator:
    """The randomness of one picture."""
    state = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))

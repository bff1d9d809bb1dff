"""From noise to a radiograph: walk along the velocity from t = 1 to t = 0.

Guidance pushes away from what the network would draw without a condition (Ho and Salimans 2022,
https://arxiv.org/abs/2207.12598), only at medium noise levels (Kynkaanniemi et al. 2024,
https://arxiv.org/abs/2404.07724). With guidance 1 the network is called once per velocity.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from model.flow import Denoiser, shift_t
from model.tokens import null_like

Method = Literal["euler", "heun"]
"""Euler: one velocity per step, error falls with the step. Heun: two, falls with its square."""

Pictures = Float[Tensor, "batch 1 height width"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """Velocity of a batch of pictures under one condition and one guidance."""

    network: Denoiser
    condition: Float[Tensor, "batch attribute"]
    guidance: float
    interval: tuple[float, float]

    def velocity(self, x: Pictures, t: float) -> Pictures:
        """Noise minus image at ``t`` above 0.

        Not damped near t = 0 as in the loss: here the damping would leave noise in the picture.
        """
        image = self._predict(x, t, self.condition)
        low, high = self.interval
        if self.guidance != 1.0 and low <= t <= high:
            unguided = self._predict(x, t, null_like(self.condition))
            image = unguided + self.guidance * (image - unguided)
        return (x - image) / t

    def _predict(self, x: Pictures, t: float, condition: Tensor) -> Pictures:
        """Image behind ``x``, one draw per record."""
        levels = x.new_full((len(x), 1), t)
        return self.network(x.unsqueeze(1), levels, condition.unsqueeze(1)).squeeze(1)


@torch.no_grad()
def sample(
    network: Denoiser,
    condition: Float[Tensor, "batch attribute"],
    *,
    image_size: int,
    num_steps: int,
    guidance: float,
    method: Method,
    generator: torch.Generator,
    interval: tuple[float, float] = (0.1, 0.9),
) -> Pictures:
    """Draw one radiograph per row of ``condition``; pixels in [-1, 1].

    Args:
        network: predicts images, on the device of ``condition``.
        condition: age in years or NaN, then ids with 0 for null.
        image_size: side in pixels.
        num_steps: steps from noise to image; Heun makes two network calls in all but the last.
        guidance: 1 follows the condition as learned, more exaggerates it and costs variety.
        method: how a step is taken.
        generator: the only source of randomness; the same seed gives the same pictures.
        interval: noise levels between which guidance acts.

    Raises:
        ValueError: no steps.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}, it must be at least 1")
    field = _Field(network=network, condition=condition, guidance=guidance, interval=interval)
    shape = (len(condition), 1, image_size, image_size)
    x = torch.randn(shape, generator=generator, device=generator.device).to(condition.device)
    for t, t_next in pairwise(time_grid(num_steps, image_size)):
        x = _step(field, x, t, t_next, method)
    return x.clamp(-1.0, 1.0)


def time_grid(num_steps: int, image_size: int) -> list[float]:
    """Noise levels from 1 to 0, placed where training placed its own."""
    even = torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64)
    levels: list[float] = shift_t(even, image_size).tolist()
    return levels


def _step(field: _Field, x: Pictures, t: float, t_next: float, method: Method) -> Pictures:
    """One step; the last one, to t = 0 where there is no velocity, is Euler's for both methods."""
    slope = field.velocity(x, t)
    guess = x + (t_next - t) * slope
    if method == "euler" or t_next == 0.0:
        return guess
    return x + (t_next - t) / 2 * (slope + field.velocity(guess, t_next))

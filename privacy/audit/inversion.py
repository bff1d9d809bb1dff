"""Whether radiographs can be read out of a gradient: a canned attack, beside two attacks that cannot succeed.

Whoever holds the weights and one step's gradient looks for pictures whose gradient points the same way (Geiping et
al. 2020, https://arxiv.org/abs/2003.14053). The attacker here is granted more than a coordinator knows: the
condition of every record, its noise and its noise levels, and the gradient of that one step alone. Chests are alike,
so that a reconstruction means something only beside one from the gradient of another patient's radiograph: what the
attack gains over that was read out of the gradient, and not out of what the model knows of chests.

A failure of this attack proves nothing: there are stronger ones, that craft the weights, know the population, or
search for hours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

Pictures = Float[Tensor, "batch channel height width"]
"""What the network sees; pixels in [-1, 1], or latents."""

GradientOf = Callable[[Tensor], Sequence[Tensor]]
"""Pictures -> the gradient of their mean loss, which itself can be differentiated."""

PEAK = 2.0
"""Largest difference of two pixels in [-1, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """How long and how boldly is searched."""

    num_steps: int = 200
    """Steps of the search."""
    num_starts: int = 1
    """Searches, each from other noise; the one whose gradient fits best counts."""
    learning_rate: float = 0.1
    """Of Adam at the first step; it falls to a hundredth along a cosine."""
    smoothness: float = 0.1
    """Weight of the mean absolute difference of neighbouring pixels."""

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_starts < 1:
            raise ValueError("num_steps and num_starts must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Found:
    """What a search ended with."""

    pictures: Pictures
    match: float
    """Cosine of the angle between their gradient and the observed one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """How like the truth a reconstruction is; of several pictures, the best one."""

    correlation: float
    """Of pixels, in [-1, 1]."""
    psnr: float
    """Decibels, once brightness and contrast are fitted."""


def invert(
    observed: Sequence[Tensor],
    gradient_of: GradientOf,
    *,
    shape: tuple[int, ...],
    attack: Attack,
    generator: torch.Generator,
) -> Found:
    """Look for pictures with the observed gradient.

    Args:
        observed: the gradient, a tensor for each parameter.
        gradient_of: the same of any pictures; the attacker's model of the step.
        shape: (batch, channel, height, width) of the pictures.
        attack: how.
        generator: of the pictures that the searches begin with.
    """
    starts = [
        torch.randn(shape, generator=generator).to(observed[0].device)
        for _ in range(attack.num_starts)
    ]
    found = [_search(observed, gradient_of, start, attack) for start in starts]
    return max(found, key=lambda one: one.match)


def likeness(found: Pictures, truth: Pictures) -> Likeness:
    """Compare pair by pair, whatever brightness and contrast, and keep the best pair."""
    flat = [pictures.flatten(1).double().cpu().numpy() for pictures in (found, truth)]
    compared = (_compare(one, other) for one, other in zip(*flat, strict=True))
    return max(compared, key=lambda pair: pair.correlation)


def clipped_and_noised(
    gradient: Sequence[Tensor],
    *,
    noise_multiplier: float,
    max_grad_norm: float,
    generator: torch.Generator,
) -> list[Tensor]:
    """What a private step releases if this is the only patient it drew, before the public divisor.

    Args:
        gradient: of the patient's mean loss.
        noise_multiplier: sigma.
        max_grad_norm: C.
        generator: of the noise, on the processor. This is a rehearsal; what leaves has noise from the system's entropy.
    """
    scale = min(1.0, max_grad_norm / max(norm_of(gradient), 1e-30))
    deviation = noise_multiplier * max_grad_norm
    return [
        part * scale + deviation * torch.randn(part.shape, generator=generator).to(part.device)
        for part in gradient
    ]


def norm_of(gradient: Sequence[Tensor]) -> float:
    """L2 norm over all tensors together."""
    return float(torch.stack([part.norm() for part in gradient]).norm())


def _search(
    observed: Sequence[Tensor], gradient_of: GradientOf, start: Tensor, attack: Attack
) -> Found:
    """Adam on the pictures, by the sign of the slope, from one start."""
    pictures = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pictures], lr=attack.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, attack.num_steps, eta_min=attack.learning_rate / 100
    )
    best = Found(pictures=start, match=-1.0)
    for _ in range(attack.num_steps):
        match = _cosine(gradient_of(pictures), observed)
        if float(match.detach()) > best.match:
            best = Found(pictures=pictures.detach().clone(), match=float(match.detach()))
        loss = 1 - match + attack.smoothness * _roughness(pictures)
        (slope,) = torch.autograd.grad(loss, [pictures])
        pictures.grad = slope.sign()
        optimizer.step()
        schedule.step()
    return best


def _cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Cosine of the angle between two gradients, over all tensors together."""
    product = torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()
    squares = [torch.stack([part.square().sum() for part in one]).sum() for one in (first, second)]
    return product / (squares[0] * squares[1]).sqrt().clamp_min(1e-30)


def _roughness(pictures: Pictures) -> Tensor:
    """Mean absolute difference of neighbours (total variation)."""
    down, right = pictures.diff(dim=-2).abs().mean(), pictures.diff(dim=-1).abs().mean()
    return down + right


def _compare(found: NDArray[np.float64], truth: NDArray[np.float64]) -> Likeness:
    """Correlation, and the error that is left after the best straight line from found to truth."""
    centred, target = found - found.mean(), truth - truth.mean()
    lengths = float(np.linalg.norm(centred) * np.linalg.norm(target))
    correlation = float(centred @ target) / lengths if lengths else 0.0
    error = float(target @ target) / len(target) * (1 - correlation**2)
    psnr = 10 * np.log10(PEAK**2 / max(error, 1e-12))
    return Likeness(correlation=correlation, psnr=float(psnr))

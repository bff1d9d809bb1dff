"""A teacher's way from noise to picture in a few pieces, and a student that crosses each in one straight step.

The teacher may take many steps and push away from another condition; the student learns where it arrives.
With one piece this is reflow (Liu et al. 2022, https://arxiv.org/abs/2209.03003), with several it is piecewise
rectified flow (Yan et al. 2024, https://arxiv.org/abs/2405.07510). It sees what the teacher drew and nothing else:
no patient's picture, so it adds nothing to what a finished model has told of its patients.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.flow import Denoiser
from model.guidance import Condition, Latents
from model.sampler import Sampling, time_grid, walk


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crossings:
    """Pieces of several ways, one of each."""

    start: Latents
    """Where the teacher entered the piece."""

    end: Latents
    """Where it left."""

    piece: Int[Tensor, " batch"]
    """Which piece it is, from 0 at the noise."""

    condition: Condition


def teacher_points(
    network: Denoiser,
    condition: Condition,
    noise: Latents,
    sampling: Sampling,
    *,
    num_pieces: int,
    noise_size: int,
) -> Float[Tensor, "batch piece channel height width"]:
    """Where the teacher leaves each piece of its way; the last point is its picture.

    Args:
        network: the teacher.
        condition: age in years or NaN, then ids with 0 for null.
        noise: where it begins.
        sampling: how it walks; its steps are a multiple of ``num_pieces``.
        num_pieces: steps that the student will have.
        noise_size: ``ModelConfig.noise_size``, which places the steps.

    Raises:
        ValueError: the steps do not divide into pieces.
    """
    if sampling.num_steps % num_pieces:
        raise ValueError(f"{sampling.num_steps} steps do not divide into {num_pieces} equal pieces")
    levels = time_grid(sampling.num_steps, noise_size)
    length = sampling.num_steps // num_pieces
    x, points = noise, []
    for first in range(0, sampling.num_steps, length):
        x = walk(network, condition, x, sampling, levels[first : first + length + 1])
        points.append(x)
    return torch.stack(points, dim=1)


def landing_error(
    network: Denoiser, crossings: Crossings, levels: Float[Tensor, " level"]
) -> Float[Tensor, " batch"]:
    """Mean squared distance between where one straight step lands and where the teacher arrived.

    Args:
        network: the student; predicts the image that the straight line through both points leads to.
        crossings: what the teacher did.
        levels: noise levels at the ends of the pieces, from 1 to 0.
    """
    t, t_next = levels[crossings.piece], levels[crossings.piece + 1]
    image = network(
        crossings.start.unsqueeze(1), t.unsqueeze(1), crossings.condition.unsqueeze(1)
    ).squeeze(1)
    landing = torch.lerp(image, crossings.start, (t_next / t)[:, None, None, None])
    return (landing - crossings.end).square().flatten(1).mean(dim=1)

"""Rectified flow: straight paths between radiographs and noise, and the loss along them.

Here and everywhere: t = 0 is the image, t = 1 is noise, and the velocity points from image to
noise. (Esser et al. 2024, https://arxiv.org/abs/2403.03206.) The network predicts the image, the
loss compares velocities. (Li and He 2025, https://arxiv.org/abs/2511.13720.) Tensors are (batch,
draw, channel, height, width): the draws of one record are several noisings of it, and count as one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(noisy, t, condition), each with a draw axis -> predicted image, shaped as ``noisy``."""

MIN_T = 0.05
"""Below this noise level the loss stops to magnify the error of the predicted image."""

LOGIT_MEAN, LOGIT_SPREAD = 0.8, 0.8
"""Noise levels are the sigmoid of a normal variable with these two; most lie between .5 and .9."""

REFERENCE_SIZE = 256
"""Side in pixels up to which noise levels are not shifted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """The randomness of one loss; the same draws give the same loss."""

    t: Float[Tensor, "batch draw"]
    """Noise levels in (0, 1)."""

    noise: Float[Tensor, "batch draw channel height width"]
    """Standard normal."""


def draw_noise(
    shape: tuple[int, ...], num_draws: int, image_size: int, generator: torch.Generator
) -> Draws:
    """Noise levels and noise for a batch, on the device of the generator.

    Args:
        shape: (batch, channel, height, width) of the images.
        num_draws: noisings of every record.
        image_size: side in pixels; large pictures need more noise to hide the same structure.
        generator: the only source of randomness.
    """
    num_records, *picture = shape
    device = generator.device
    normal = torch.randn(num_records, num_draws, generator=generator, device=device)
    noise = torch.randn(num_records, num_draws, *picture, generator=generator, device=device)
    t = torch.sigmoid(LOGIT_MEAN + LOGIT_SPREAD * normal)
    return Draws(t=shift_t(t, image_size), noise=noise)


def shift_t(t: Float[Tensor, "*any"], image_size: int) -> Float[Tensor, "*any"]:
    """Noise level that hides as much at this size as ``t`` does at 256 pixels; the same below that.

    (Esser et al. 2024, section 5.3.2; 0 and 1 stay where they are.) Small pictures are not shifted
    the other way: a sample begins at pure noise, and training would all but never have been there.
    """
    ratio = max(1.0, image_size / REFERENCE_SIZE)
    return ratio * t / (1 + (ratio - 1) * t)


def interpolate(
    image: Float[Tensor, "batch draw channel height width"],
    noise: Float[Tensor, "batch draw channel height width"],
    t: Float[Tensor, "batch draw"],
) -> Float[Tensor, "batch draw channel height width"]:
    """Point at t on the straight line from image to noise."""
    return torch.lerp(image, noise, _over_pixels(t))


def velocity(
    noisy: Float[Tensor, "batch draw channel height width"],
    image: Float[Tensor, "batch draw channel height width"],
    t: Float[Tensor, "batch draw"],
) -> Float[Tensor, "batch draw channel height width"]:
    """Noise minus image, for the noise that leads from ``image`` to ``noisy``; damped below MIN_T."""
    return (noisy - image) / _over_pixels(t).clamp_min(MIN_T)


def flow_loss(
    network: Denoiser,
    image: Float[Tensor, "batch channel height width"],
    condition: Float[Tensor, "batch attribute"],
    draws: Draws,
) -> Float[Tensor, " batch"]:
    """Squared error of the velocity, one value per record: the mean over its draws and pixels.

    The mean over records is the caller's, because differential privacy needs the single terms.

    Args:
        network: predicts images.
        image: pixels in [-1, 1], or latents of unit scale.
        condition: rows of attributes, after the drop; the same for all draws of a record.
        draws: what ``draw_noise`` gave for this batch.
    """
    num_draws = draws.t.shape[1]
    clean = image.unsqueeze(1).expand_as(draws.noise)
    return drawn_loss(network, clean, condition.unsqueeze(1).expand(-1, num_draws, -1), draws)


def drawn_loss(
    network: Denoiser,
    image: Float[Tensor, "batch draw channel height width"],
    condition: Float[Tensor, "batch draw attribute"],
    draws: Draws,
) -> Float[Tensor, " batch"]:
    """The same where every draw has an image and a condition of its own, such as those of one patient."""
    noisy = interpolate(image, draws.noise, draws.t)
    predicted = network(noisy, draws.t, condition)
    error = velocity(noisy, predicted, draws.t) - velocity(noisy, image, draws.t)
    return error.square().flatten(1).mean(dim=1)


def _over_pixels(t: Float[Tensor, "batch draw"]) -> Float[Tensor, "batch draw 1 1 1"]:
    """Noise levels with axes that spread over a picture."""
    return t[:, :, None, None, None]

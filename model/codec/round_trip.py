"""What a codec loses: radiographs against what comes back of them, which no model behind the codec can win back."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from model.codec.codec import Codec
from model.evaluation.ms_ssim import ms_ssim

GREYS = 256
"""Of a screen; between two of them lies the unit of the mean error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTrip:
    """Error of decoding what was encoded, clipped to what a picture can hold."""

    num_images: int

    psnr: float | None
    """Decibels over all pixels, of the range from black to white; None where nothing is lost."""

    ms_ssim: float
    """Mean structural similarity over several scales, 1 where nothing is lost."""

    mean_absolute_error: float
    """Over all pixels, in steps of 256 greys."""


def codec_error(codec: Codec, images: Float[Tensor, "record 1 height width"]) -> RoundTrip:
    """Send radiographs through a codec and back.

    Args:
        codec: what to judge.
        images: pixels in [-1, 1], at least one picture, sides of 11 pixels or more.

    Raises:
        ValueError: no picture, or one that is too small.
    """
    if len(images) == 0:
        raise ValueError("there is no picture to send through the codec")
    back = codec.decode(codec.encode(images)).clamp(-1.0, 1.0)
    error = (back - images).double()
    squared = float(error.square().mean())
    return RoundTrip(
        num_images=len(images),
        psnr=10 * float(np.log10(4.0 / squared)) if squared > 0 else None,
        ms_ssim=float(ms_ssim(back, images).mean()),
        mean_absolute_error=float(error.abs().mean()) / 2.0 * (GREYS - 1),
    )

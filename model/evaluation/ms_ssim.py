"""Multi-scale structural similarity of pairs of pictures; low among samples means variety.

(Wang, Simoncelli and Bovik 2003, https://doi.org/10.1109/ACSSC.2003.1292216.) The paper's five scales need
176 pixels, as the window of 11 must fit the smallest one. Smaller pictures use as many scales as fit, with the
paper's first weights, made to add up to 1; so numbers compare only among pictures of one size.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from the picture's own to a sixteenth of it."""
WINDOW, WINDOW_SPREAD = 11, 1.5
"""Pixels across, and standard deviation in pixels, of the Gaussian window."""
VALUE_RANGE = 2.0
"""Between black, -1, and white, 1."""
_LUMINANCE, _CONTRAST = (0.01 * VALUE_RANGE) ** 2, (0.03 * VALUE_RANGE) ** 2


def ms_ssim(
    a: Float[Tensor, "batch 1 height width"], b: Float[Tensor, "batch 1 height width"]
) -> Float[np.ndarray, " batch"]:
    """Similarity of each pair, 1 for equal pictures, about 0 for unlike ones.

    Args:
        a: pixels in [-1, 1].
        b: as ``a``.

    Raises:
        ValueError: a side below 11 pixels.
    """
    side = min(a.shape[-2:])
    if side < WINDOW:
        raise ValueError(f"pictures are {side} pixels wide, similarity needs at least {WINDOW}")
    weights = _weights(side)
    similarity = torch.ones(len(a), dtype=torch.float64)
    a, b = a.double(), b.double()
    for scale, weight in enumerate(weights):
        luminance, structure = _similarity(a, b)
        last = scale == len(weights) - 1
        part = (luminance * structure if last else structure).mean(dim=(1, 2, 3))
        similarity = similarity * part.clamp_min(0) ** weight
        a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
    return similarity.numpy()


def _weights(side: int) -> list[float]:
    """Weights of the scales at which the window fits; they add up to 1."""
    fitting = [weight for scale, weight in enumerate(WEIGHTS) if side // 2**scale >= WINDOW]
    return [weight / sum(fitting) for weight in fitting]


def _similarity(
    a: Float[Tensor, "batch 1 height width"], b: Float[Tensor, "batch 1 height width"]
) -> tuple[Float[Tensor, "batch 1 rows columns"], Float[Tensor, "batch 1 rows columns"]]:
    """Likeness of luminance, and of contrast and structure, in every window."""
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _LUMINANCE) / (mean_a**2 + mean_b**2 + _LUMINANCE)
    structure = (2 * covariance + _CONTRAST) / (variance_a + variance_b + _CONTRAST)
    return luminance, structure


def _blur(picture: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 rows columns"]:
    """Gaussian mean over every window that lies in the picture."""
    place = torch.arange(WINDOW, dtype=picture.dtype) - WINDOW // 2
    bell = torch.exp(-(place**2) / (2 * WINDOW_SPREAD**2))
    bell = bell / bell.sum()
    down = conv2d(picture, bell.reshape(1, 1, -1, 1))
    return conv2d(down, bell.reshape(1, 1, 1, -1))

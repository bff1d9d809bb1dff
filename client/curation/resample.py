"""Shrinking and stretching small pictures by matrices, which takes any size and many pictures at once."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.float32]
"""(picture, side, side)."""


def shrink(image: NDArray[np.uint16], side: int) -> NDArray[np.float32]:
    """Average one picture (size, size) over equal squares to (side, side), in [0, 1].

    Squares may begin and end within a pixel, so that sizes need not be multiples.
    """
    weights = _averaging(image.shape[-1], side)
    brightness = image.astype(np.float32) / np.float32(65535)
    return np.asarray(weights @ brightness @ weights.T, np.float32)


@lru_cache
def _averaging(size: int, side: int) -> NDArray[np.float32]:
    """Weights (side, size) that average a line of pixels over equal stretches of it."""
    edges = np.linspace(0.0, size, side + 1)
    pixels = np.arange(size)
    ends = np.minimum(edges[1:, None], pixels + 1)
    begins = np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(ends - begins, 0.0, None) * side / size, np.float32)


def magnify(pictures: Pictures, scale: float) -> Pictures:
    """Enlarge about the middle (scale above 1) or reduce; what comes in from outside repeats the edge."""
    weights = _zooming(pictures.shape[-1], scale)
    return np.asarray(weights @ pictures @ weights.T)


@lru_cache
def _zooming(side: int, scale: float) -> NDArray[np.float32]:
    """Weights (side, side) that interpolate a line linearly at stretched places."""
    middle = (side - 1) / 2
    places = np.clip((np.arange(side) - middle) / scale + middle, 0, side - 1)
    left = np.minimum(places.astype(int), side - 2)
    share = places - left
    weights = np.zeros((side, side), np.float32)
    weights[np.arange(side), left] = 1 - share
    weights[np.arange(side), left + 1] += share
    return weights


def local_mean(pictures: Pictures, radius: int) -> Pictures:
    """Mean over the square of 2 radius + 1 pixels around each pixel; the edge repeats outside."""
    padded = np.pad(pictures, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    width = 2 * radius + 1
    return np.asarray(window_sums(padded, width) / np.float32(width * width))


def window_sums(pictures: Pictures, width: int) -> Pictures:
    """Sums over every square of (width, width) that fits, (picture, side - width + 1, the same)."""
    windows = _windows(pictures.shape[-1], width)
    return np.asarray(windows @ pictures @ windows.T)


@lru_cache
def _windows(side: int, width: int) -> NDArray[np.float32]:
    """Weights (place, side) that sum a line over each of its windows."""
    offset = np.arange(side) - np.arange(side - width + 1)[:, None]
    return ((offset >= 0) & (offset < width)).astype(np.float32)

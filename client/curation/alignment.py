"""How alike two pictures are in their fine structure, once one is laid over the other.

Compared is local contrast: every pixel minus the mean around it, divided by the spread around it. Window,
gamma and bit depth change it little; ribs and vessels make it. The middle of one picture is looked for in
the other at several magnifications and shifts (normalised cross-correlation, by Fourier transform), so that a
trimmed or resized copy is recognised. Two exposures of one person resemble each other in most places, but a
breath moves something somewhere: so the laid-over pictures are compared tile by tile, and the worse tiles decide.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.curation.resample import Pictures, local_mean, magnify, window_sums

_MARGIN = 0.12
"""Share of the side left out at each edge of the first picture; also the largest shift."""
_LARGEST_CONTRAST = 2.5
_NOISE = 0.04
"""Spread, as a share of full brightness, below which structure is taken for noise."""
_WORSE_TILES = 0.1
_FLAT = 0.05
"""Mean square of the contrast below which a tile shows nothing, and is not asked."""
_LEAST_SPREAD = 5e-4
"""Mean square of the contrast that a place is taken to have at least, so that nothing fits emptiness."""
_TINY = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How closely to look."""

    scales: tuple[float, ...]
    """Magnifications of the second picture that are tried."""
    radius: int
    """Pixels around each pixel that its contrast is measured against."""
    num_tiles: int
    """Tiles along each side; 1 compares the pictures as a whole."""


def likeness(first: Pictures, second: Pictures, how: Comparison) -> NDArray[np.float32]:
    """Correlation of each picture with its partner laid over it at the best place, in the worse tiles.

    Args:
        first: (pair, side, side) in [0, 1].
        second: the partners, of the same shape.
        how: what is tried and compared.

    Returns:
        (pair,), in [-1, 1]: the value that a tenth of the tiles stay below.
    """
    contrasts = _lay_over(first, second, how)
    one, other = (_tiles(contrast, how.num_tiles) for contrast in contrasts)
    one = one - one.mean(axis=2, keepdims=True)
    other = other - other.mean(axis=2, keepdims=True)
    energy, energy_of_other = (one * one).mean(axis=2), (other * other).mean(axis=2)
    product = (one * other).mean(axis=2)
    alike = product / np.sqrt(np.maximum(energy * energy_of_other, _TINY))
    shows = np.maximum(energy, energy_of_other) >= _FLAT
    return _worse(np.where(shows, alike, np.nan))


def local_contrast(pictures: Pictures, radius: int) -> Pictures:
    """Structure freed of brightness and contrast, of the same shape."""
    rest = pictures - local_mean(pictures, radius)
    spread = np.sqrt(np.maximum(local_mean(rest * rest, radius), 0.0))
    return np.clip(rest / (spread + np.float32(_NOISE)), -_LARGEST_CONTRAST, _LARGEST_CONTRAST)


def _lay_over(first: Pictures, second: Pictures, how: Comparison) -> tuple[Pictures, Pictures]:
    """Contrast of the middles of the first pictures, and of what fits best of the second, (pair, m, m)."""
    margin = max(2, round(_MARGIN * first.shape[-1]))
    inside = slice(margin, first.shape[-1] - margin)
    middle = local_contrast(first, how.radius)[:, inside, inside]
    around = local_contrast(second, how.radius)
    template = _spectrum_of_template(middle, side=first.shape[-1])
    best, found = np.full(len(first), -np.inf), np.zeros_like(middle)
    for scale in how.scales:
        scene = magnify(around, scale)
        fit = _correlation(template, scene, middle.shape[-1]).reshape(len(first), -1)
        place = fit.argmax(axis=1)
        better = np.flatnonzero(fit.max(axis=1) > best)
        best[better] = fit.max(axis=1)[better]
        for pair in better:
            down, right = divmod(int(place[pair]), 2 * margin + 1)
            side = middle.shape[-1]
            found[pair] = scene[pair, down : down + side, right : right + side]
    return middle, found


def _spectrum_of_template(middle: Pictures, *, side: int) -> NDArray[np.complexfloating]:
    """Conjugate spectrum of the middles, each freed of its mean and scaled to length 1."""
    template = middle - middle.mean(axis=(1, 2), keepdims=True)
    length = np.linalg.norm(template, axis=(1, 2), keepdims=True)
    return np.conj(np.fft.rfft2(template / np.maximum(length, _TINY), s=(side, side)))


def _correlation(template: NDArray[np.complexfloating], scene: Pictures, part: int) -> Pictures:
    """Correlation of the template of (part, part) with the scene at every place, (pair, place, place).

    Local contrast has a mean of almost 0 everywhere, so only its spread is divided out.
    """
    side = scene.shape[-1]
    places = side - part + 1
    product = np.fft.irfft2(template * np.fft.rfft2(scene), s=(side, side))[:, :places, :places]
    energy = np.maximum(window_sums(scene * scene, part), _LEAST_SPREAD * part**2)
    return np.asarray(product / np.sqrt(energy), np.float32)


def _tiles(pictures: Pictures, num_tiles: int) -> NDArray[np.float32]:
    """Pixels of num_tiles by num_tiles squares, (pair, tile, pixel); what is left over is cut off."""
    count, side = len(pictures), pictures.shape[-1] // num_tiles
    cut = pictures[:, : num_tiles * side, : num_tiles * side]
    split = cut.reshape(count, num_tiles, side, num_tiles, side).transpose(0, 1, 3, 2, 4)
    return split.reshape(count, num_tiles**2, side**2)


def _worse(alike: NDArray[np.floating]) -> NDArray[np.float32]:
    """Likeness of the tile that a tenth are worse than; -1 where no tile shows anything."""
    empty = np.isnan(alike).all(axis=1)
    filled = np.where(empty[:, None], -1.0, alike)
    return np.asarray(np.nanquantile(filled, _WORSE_TILES, axis=1), np.float32)

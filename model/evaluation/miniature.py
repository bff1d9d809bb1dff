"""Miniatures of radiographs, and how alike two of them are after small shifts.

The broad shades that all chests share are taken out first, and the grain that no two films share, so that
likeness is likeness of what is drawn in between; a change of brightness or contrast changes nothing.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from model.evaluation.distances import row_blocks

SIZE = 64
"""Pixels; smaller pictures stay as they are."""
SHADE = 0.11
"""Of the side; how far the mean around a pixel reaches that counts as broad shade."""
GRAIN = 1
"""Pixels; how far the mean reaches that hides noise and parts of a pixel."""
MAX_SHIFT = 1
"""Pixels of a miniature, in every direction."""


def miniatures(
    images: Float[Tensor, "batch 1 height width"],
) -> Float[np.ndarray, "batch rows columns"]:
    """Detail of pictures in [-1, 1] at 64 pixels; what ``most_alike`` compares."""
    if max(images.shape[-2:]) > SIZE:
        images = interpolate(images, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    shade = _mean_around(images, _reach(min(images.shape[-2:])))
    return (_mean_around(images, GRAIN) - shade)[:, 0].numpy()


def most_alike(
    pictures: Float[np.ndarray, "record rows columns"],
    others: Float[np.ndarray, "other rows columns"],
    *,
    patients: Shaped[np.ndarray, " record"] | None = None,
    other_patients: Shaped[np.ndarray, " other"] | None = None,
) -> tuple[Float[np.ndarray, " record"], Int[np.ndarray, " record"]]:
    """Largest correlation of each miniature with any other, at any small shift, and the place of that one.

    With patients, pictures of the same patient do not count; where none is left it is -1.
    """
    likeness = np.full(len(pictures), -1.0)
    place = np.zeros(len(pictures), dtype=np.int64)
    middle = _normalised(_inner(pictures, 0, 0))
    for rows in row_blocks(len(others), max(middle.shape[1], len(pictures))):
        for down, right in _shifts():
            found = middle @ _normalised(_inner(others[rows], down, right)).T
            if patients is not None and other_patients is not None:
                found[patients[:, None] == other_patients[rows]] = -1.0
            best = found.argmax(axis=1)
            value = found[np.arange(len(found)), best]
            better = value > likeness
            likeness[better], place[better] = value[better], best[better] + rows.start
    return likeness, place


def _reach(side: int) -> int:
    """Pixels between a pixel and the farthest that count towards its shade."""
    return round(SHADE * side)


def _mean_around(
    images: Float[Tensor, "batch 1 height width"], reach: int
) -> Float[Tensor, "batch 1 height width"]:
    """Mean over the square around each pixel, as far as the picture goes."""
    return avg_pool2d(images, 1 + 2 * reach, stride=1, padding=reach, count_include_pad=False)


def _shifts() -> Iterator[tuple[int, int]]:
    reach = range(-MAX_SHIFT, MAX_SHIFT + 1)
    return ((down, right) for down in reach for right in reach)


def _inner(
    pictures: Float[np.ndarray, "record rows columns"], down: int, right: int
) -> NDArray[np.floating]:
    """The part, moved by a shift, that nothing reaches which a shift brings in at the edges."""
    height, width = pictures.shape[1:]
    margin = _reach(min(height, width)) + MAX_SHIFT
    rows = slice(margin + down, height - margin + down)
    columns = slice(margin + right, width - margin + right)
    return pictures[:, rows, columns]


def _normalised(pictures: NDArray[np.floating]) -> NDArray[np.float32]:
    """Flat pictures of mean 0 and length 1."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12))

"""Whether a picture has what every frontal chest radiograph has, by measures a person can follow.

Each picture is laid over its own mirror image: the midline is the column about which the two agree best. Left
and right of it must lie two lung fields, darker than what is between and beside them; below them it must be
brighter than above; and the heart and the stomach, which lie on the patient's left, must be on the picture's
right. Disease breaks every one of these rules in some patients, so only shares of many pictures say something,
beside the same shares of real radiographs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

SIDE = 32
"""Pixels along a picture when it is judged; all places below are in them."""

HALF = 12
"""Columns that are looked at on either side of the midline."""

MIDLINES = range(SIDE // 2 - 4, SIDE // 2 + 5)
"""Columns right of a possible midline."""

CHESTS_ROWS = slice(5, 24)
"""In which the two halves of a chest are alike."""

MIN_LIKENESS = 0.5
"""Correlation of the two halves; 99 of 100 real radiographs reach it."""

MIN_DARKER = (0.10, 0.05)
"""How much darker a lung must be than the mediastinum, and than the wall beside it; 1 is black to white."""

LUNG_SHARE = (0.15, 0.80)
"""Dark part of a half's place for a lung."""

MIN_LUNG_RATIO = 0.5
"""Smaller lung over larger."""

MIN_BRIGHTER_BELOW = 0.1
"""How much brighter the lower third must be than the upper."""

Halves = Float[np.ndarray, f"picture {SIDE} {HALF}"]
"""The columns beside the midline, from the midline outwards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plausibility:
    """What was found in each of n pictures."""

    lung_fields: Bool[np.ndarray, " picture"]
    """Two dark areas of fitting size, left and right of a bright middle."""

    upright: Bool[np.ndarray, " picture"]
    """Belly below, shoulders above."""

    heart_side: Bool[np.ndarray, " picture"]
    """The heart reaches further to the picture's right."""

    left_right: Bool[np.ndarray, " picture"]
    """Heart on the picture's right, and under it the stomach, less dense than the liver."""


CHECKS = ("lung_fields", "upright", "heart_side", "left_right")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chest:
    """Pictures cut at their midlines; ``left`` is the picture's left, the patient's right."""

    left: Halves
    right: Halves
    likeness: Float[np.ndarray, " picture"]


def plausibility(images: Float[Tensor, "picture 1 height width"]) -> Plausibility:
    """Judge frontal radiographs with pixels in [-1, 1]; air is dark."""
    chest = _cut(_prepared(images))
    heart = _mean(chest.right - chest.left, slice(16, 23), slice(2, 6))
    stomach = _mean(chest.right - chest.left, slice(25, 31), slice(4, HALF))
    return Plausibility(
        lung_fields=_lung_fields(chest),
        upright=_upright(chest),
        heart_side=heart > 0,
        left_right=heart - stomach > 0,
    )


def _prepared(
    images: Float[Tensor, "picture 1 height width"],
) -> Float[np.ndarray, "picture row column"]:
    """Small pictures, from the darkest twentieth at 0 to the brightest at 1."""
    small = torch.nn.functional.interpolate(images.float(), size=(SIDE, SIDE), mode="area")
    grey = small[:, 0].double().numpy()
    dark, bright = np.percentile(grey, (5, 95), axis=(1, 2), keepdims=True)
    return np.asarray(np.clip((grey - dark) / np.maximum(bright - dark, 1e-6), 0.0, 1.0))


def _cut(grey: Float[np.ndarray, "picture row column"]) -> _Chest:
    """Cut each picture where its halves are most alike."""
    cuts = [(grey[:, :, at - HALF : at][:, :, ::-1], grey[:, :, at : at + HALF]) for at in MIDLINES]
    likeness = np.stack([_correlation(left, right) for left, right in cuts])
    best = likeness.argmax(axis=0)
    pictures = np.arange(len(grey))
    return _Chest(
        left=np.stack([left for left, _ in cuts])[best, pictures],
        right=np.stack([right for _, right in cuts])[best, pictures],
        likeness=likeness[best, pictures],
    )


def _correlation(left: Halves, right: Halves) -> Float[np.ndarray, " picture"]:
    """Of the rows of the chest."""
    a, b = (half[:, CHESTS_ROWS] for half in (left, right))
    a, b = (half - half.mean(axis=(1, 2), keepdims=True) for half in (a, b))
    norms = np.sqrt((a * a).sum(axis=(1, 2)) * (b * b).sum(axis=(1, 2)))
    return np.asarray((a * b).sum(axis=(1, 2)) / np.maximum(norms, 1e-9))


def _lung_fields(chest: _Chest) -> Bool[np.ndarray, " picture"]:
    """Both halves hold a lung, of about one size, and are halves of one chest."""
    middle = (
        _mean(chest.left, slice(5, 18), slice(2)) + _mean(chest.right, slice(5, 18), slice(2))
    ) / 2
    shares, both = [], chest.likeness >= MIN_LIKENESS
    for half in (chest.left, chest.right):
        lung, wall = _lung_and_wall(half)
        both &= (middle - lung >= MIN_DARKER[0]) & (wall - lung >= MIN_DARKER[1])
        threshold = ((middle + lung) / 2)[:, None, None]
        shares.append((half[:, 4:24, 2:] < threshold).mean(axis=(1, 2)))
    smaller, larger = np.minimum(*shares), np.maximum(*shares)
    fitting = (smaller >= LUNG_SHARE[0]) & (larger <= LUNG_SHARE[1])
    return np.asarray(both & fitting & (smaller >= MIN_LUNG_RATIO * larger))


def _lung_and_wall(
    half: Halves,
) -> tuple[Float[np.ndarray, " picture"], Float[np.ndarray, " picture"]]:
    """The darkest column of the chest's middle rows, and the brightest further out."""
    profile = half[:, 7:17].mean(axis=1)
    darkest = 3 + profile[:, 3:10].argmin(axis=1)
    outside = np.arange(HALF) >= darkest[:, None]
    return profile[np.arange(len(half)), darkest], np.where(outside, profile, 0.0).max(axis=1)


def _upright(chest: _Chest) -> Bool[np.ndarray, " picture"]:
    both = (chest.left + chest.right) / 2
    below, above = _mean(both, slice(21, 31), slice(9)), _mean(both, slice(10), slice(9))
    return np.asarray(below - above >= MIN_BRIGHTER_BELOW)


def _mean(half: Halves, rows: slice, columns: slice) -> Float[np.ndarray, " picture"]:
    return np.asarray(half[:, rows, columns].mean(axis=(1, 2)))

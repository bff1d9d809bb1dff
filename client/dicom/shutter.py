"""The part of a picture that shutters and collimators leave free, as far as their tags can be believed.

Both are described by the same attributes (PS3.3 C.7.6.11 and C.8.7.3), as a rectangle, a circle, a polygon,
or several of them of which the common part counts. Real files hold edges left of the first column, behind
the last, or around nothing; such a shape is ignored.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset

from client.dicom.header import numbers, values_of

_MIN_FREE_SHARE = 0.5
_BINDINGS = ("Shutter", "Collimator")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """What is left free of a picture."""

    rows: slice
    columns: slice
    mask: Mask | None
    """Within rows and columns; None if all of them is free."""


def opening_of(header: Dataset, shape: tuple[int, int]) -> Opening | None:
    """The free part of a picture as it is stored, or None if nothing believable is covered."""
    masks = [mask for binding in _BINDINGS for mask in _masks(header, binding, shape)]
    believed = [mask for mask in masks if mask.mean() >= _MIN_FREE_SHARE]
    if not believed:
        return None
    free: Mask = np.logical_and.reduce(believed)
    return None if free.all() or free.mean() < _MIN_FREE_SHARE else _tight(free)


def _tight(free: Mask) -> Opening:
    rows, columns = _extent(np.any(free, axis=1)), _extent(np.any(free, axis=0))
    inside = free[rows, columns]
    return Opening(rows=rows, columns=columns, mask=None if inside.all() else inside)


def _extent(free: Mask) -> slice:
    found = np.flatnonzero(free)
    return slice(int(found[0]), int(found[-1]) + 1)


def _masks(header: Dataset, binding: str, shape: tuple[int, int]) -> Iterator[Mask]:
    """One mask for each shape that lies inside the picture."""
    named = {str(value).strip().upper() for value in values_of(header, f"{binding}Shape")}
    if "RECTANGULAR" in named:
        yield from _rectangle(header, binding, shape)
    if "CIRCULAR" in named:
        yield from _circle(header, binding, shape)
    if "POLYGONAL" in named:
        yield from _polygon(header, binding, shape)


def _rectangle(header: Dataset, binding: str, shape: tuple[int, int]) -> Iterator[Mask]:
    sides = ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
    edges = [numbers(header, f"{binding}{side}Edge") for side in sides]
    if not all(len(edge) == 1 for edge in edges):
        return
    left, right, top, bottom = (int(edge[0]) for edge in edges)
    if 0 <= left < right <= shape[1] + 1 and 0 <= top < bottom <= shape[0] + 1:
        mask = np.zeros(shape, np.bool_)
        mask[max(top - 1, 0) : bottom, max(left - 1, 0) : right] = True  # they count from 1
        yield mask


def _circle(header: Dataset, binding: str, shape: tuple[int, int]) -> Iterator[Mask]:
    center = numbers(header, f"CenterOfCircular{binding}")
    radius = numbers(header, f"RadiusOfCircular{binding}")
    if len(center) != 2 or len(radius) != 1 or radius[0] <= 0:
        return
    row, column = center[0] - 1, center[1] - 1
    if 0 <= row < shape[0] and 0 <= column < shape[1]:
        down = (np.arange(shape[0], dtype=np.float32) - row) ** 2
        across = (np.arange(shape[1], dtype=np.float32) - column) ** 2
        yield down[:, None] + across <= radius[0] ** 2


def _polygon(header: Dataset, binding: str, shape: tuple[int, int]) -> Iterator[Mask]:
    found = numbers(header, f"VerticesOfThePolygonal{binding}")
    corners = [(column - 1, row - 1) for row, column in zip(found[::2], found[1::2], strict=False)]
    inside = all(-1 <= x <= shape[1] and -1 <= y <= shape[0] for x, y in corners)
    if len(corners) < 3 or len(found) % 2 or not inside:
        return
    drawn = Image.new("L", (shape[1], shape[0]))
    ImageDraw.Draw(drawn).polygon(corners, fill=1)
    yield np.asarray(drawn) > 0

"""A picture before it is made small: patterns of bits, and the brightness that each of them stands for.

The millions of pixels stay as they came from the file. Cutting and turning only changes how they are
walked through, and brightness is looked up in strips that fit the processor's cache, and averaged at once:
a full-size picture of brightness is never made.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from client.dicom.layout import Patterns
from client.dicom.orientation import Turn
from client.dicom.shutter import Opening

Brightness = NDArray[np.float32]
Mask = NDArray[np.bool_]

_STRIP_ROWS = 32
"""Rows of the reduced picture that are made at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Brightness is float32 in [0, 1] with white for dense; NaN never occurs."""

    patterns: Patterns
    """(row, column)."""
    table: Brightness
    """Brightness of every pattern."""
    measured: Mask | None
    """(row, column), False for filling instead of a measurement; None where everything was measured."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.patterns.shape
        return rows, columns

    def part(self, rows: slice, columns: slice) -> "Picture":
        """The picture inside a window."""
        measured = None if self.measured is None else self.measured[rows, columns]
        return replace(self, patterns=self.patterns[rows, columns], measured=measured)

    def behind(self, opening: Opening) -> "Picture":
        """The part that an opening leaves free; what a rounded one covers of it counts as filling."""
        part = self.part(opening.rows, opening.columns)
        if opening.mask is None:
            return part
        measured = opening.mask if part.measured is None else opening.mask & part.measured
        return replace(part, measured=measured)

    def turned(self, turn: Turn) -> "Picture":
        """The picture laid upright."""
        measured = None if self.measured is None else turn.of(self.measured)
        return replace(self, patterns=turn.of(self.patterns), measured=measured)

    def brightness(self, *, step: int = 1) -> Brightness:
        """Of every step-th row and column; filling is black."""
        # Patterns cannot lie outside the table; clipping spares NumPy from looking for those that do.
        found = np.take(self.table, self.patterns[::step, ::step], mode="clip")
        return found if self.measured is None else found * self.measured[::step, ::step]

    def reduced(self, factor: int) -> Brightness:
        """Mean brightness of blocks of factor x factor pixels; what is over at the edges is left out."""
        if factor == 1:
            return self.brightness()
        rows, columns = (length // factor for length in self.shape)
        means = np.empty((rows, columns), np.float32)
        for top in range(0, rows, _STRIP_ROWS):
            bottom = min(top + _STRIP_ROWS, rows)
            strip = self.part(slice(top * factor, bottom * factor), slice(columns * factor))
            means[top:bottom] = block_means(strip.brightness(), factor)
        return means


def block_means(values: Brightness, factor: int) -> Brightness:
    """Mean of blocks of factor x factor values; both sides are multiples of the factor."""
    rows = values[::factor].copy()
    for offset in range(1, factor):
        rows += values[offset::factor]
    total = rows[:, ::factor].copy()
    for offset in range(1, factor):
        total += rows[:, offset::factor]
    return np.asarray(total / np.float32(factor**2))

"""How a header says that its pixels are laid out, believed only after it has been checked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from client.dicom.header import whole_number, words
from client.dicom.rejection import Reason, Refused

Patterns = NDArray[np.unsignedinteger]
"""Stored values as the bits that stand for them."""

_MIN_SIDE = 32
_FEWEST_BITS = 8
_BITS_ALLOCATED = (8, 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The image pixel module of PS3.3 C.7.6.3, of one frame."""

    rows: int
    columns: int
    samples: int
    """Values per pixel: 1 for grey, 3 for colour."""
    bits_allocated: int
    """8 or 16."""
    bits_stored: int
    """8 to 16."""
    high_bit: int
    """Place of the highest stored bit; old files keep overlays in the bits around the stored ones."""
    signed: bool
    photometric: str

    @property
    def num_pixels(self) -> int:
        """Rows times columns."""
        return self.rows * self.columns

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Unsigned integers as wide as the allocated bits, in the machine's byte order."""
        return np.dtype(np.uint8 if self.bits_allocated == 8 else np.uint16)

    def stored_bits(self, pixels: NDArray[np.integer]) -> Patterns:
        """Only the stored bits of each pixel, at the low end; no copy if there is nothing else."""
        patterns = pixels.astype(self.dtype, copy=False)
        excess = self.high_bit + 1 - self.bits_stored
        if excess:
            patterns = np.right_shift(patterns, excess)
        mask = 2**self.bits_stored - 1
        return patterns if patterns.max() <= mask else np.bitwise_and(patterns, mask)


def layout_of(header: Dataset, *, max_pixels: int) -> Layout:
    """Read the layout, and refuse what it alone rules out before any memory is spent on pixels.

    Raises:
        Refused: with the reason.
    """
    if "PixelData" not in header:
        raise Refused(Reason.NO_PIXELS)
    if whole_number(header, "NumberOfFrames", default=1) > 1:
        raise Refused(Reason.MULTI_FRAME)
    if words(header, "PhotometricInterpretation") == "PALETTE COLOR":
        raise Refused(Reason.COLOUR)
    layout = _believed(header)
    if min(layout.rows, layout.columns) < _MIN_SIDE:
        raise Refused(Reason.BAD_GEOMETRY)
    if layout.num_pixels > max_pixels:
        raise Refused(Reason.TOO_LARGE)
    if layout.samples not in {1, 3} or not _bits_are_possible(layout):
        raise Refused(Reason.DECODE_FAILED)
    return layout


def _believed(header: Dataset) -> Layout:
    bits_allocated = whole_number(header, "BitsAllocated", default=16)
    bits_stored = whole_number(header, "BitsStored", default=bits_allocated)
    return Layout(
        rows=whole_number(header, "Rows", default=0),
        columns=whole_number(header, "Columns", default=0),
        samples=whole_number(header, "SamplesPerPixel", default=1),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=whole_number(header, "HighBit", default=bits_stored - 1),
        signed=whole_number(header, "PixelRepresentation", default=0) == 1,
        photometric=words(header, "PhotometricInterpretation"),
    )


def _bits_are_possible(layout: Layout) -> bool:
    return (
        layout.bits_allocated in _BITS_ALLOCATED
        and _FEWEST_BITS <= layout.bits_stored <= layout.bits_allocated
        and layout.bits_stored <= layout.high_bit + 1 <= layout.bits_allocated
    )

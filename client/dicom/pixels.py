"""The stored values of the one frame of a file, decoded only after the header's promises have been checked."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from client.dicom.codecs import decode_compressed
from client.dicom.header import DAMAGED_FILE_ERRORS, transfer_syntax
from client.dicom.layout import Layout, Patterns, layout_of
from client.dicom.rejection import Reason, Refused

_LITTLE_ENDIAN = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
}
_MAX_COLOUR_DIFFERENCE = 12
_COLOUR_STEP = 8
_NO_CHROMINANCE = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Stored values, as the patterns of bits that stand for them.

    There are so few patterns that whatever depends on the value alone is computed once for each of them
    and looked up for the pixels, which never have to be widened, shifted or given a sign.
    """

    patterns: Patterns
    """(row, column), each below 2 ** bits."""
    bits: int
    """8 to 16."""
    signed: bool

    @property
    def values(self) -> NDArray[np.int32]:
        """The value that each pattern stands for, (2 ** bits,)."""
        values = np.arange(2**self.bits, dtype=np.int32)
        return values - (values >= 2 ** (self.bits - 1)) * 2**self.bits if self.signed else values

    @property
    def digest(self) -> bytes:
        """SHA-256 of shape and values, however the file stores them."""
        found = sha256(repr((self.patterns.shape, self.bits, self.signed)).encode())
        written = np.dtype("u1" if self.bits == 8 else "<u2")
        found.update(np.ascontiguousarray(self.patterns, written).data)
        return found.digest()


def decode_frame(header: Dataset, *, max_pixels: int) -> Stored:
    """Decode the only frame, whatever its compression, bits, sign or byte order.

    Raises:
        Refused: with the reason, also for everything a decoder raises on damaged data.
    """
    layout = layout_of(header, max_pixels=max_pixels)
    try:
        pixels = _single_channel(_decode(header, layout), layout)
    except DAMAGED_FILE_ERRORS as error:
        raise Refused(Reason.DECODE_FAILED) from error
    return Stored(
        patterns=layout.stored_bits(pixels), bits=layout.bits_stored, signed=layout.signed
    )


def _decode(header: Dataset, layout: Layout) -> NDArray[np.integer]:
    """(row, column), or with a third axis of samples."""
    syntax = transfer_syntax(header)
    if syntax in _LITTLE_ENDIAN and layout.samples == 1:
        written = layout.dtype.newbyteorder("<")
        values = np.frombuffer(header.PixelData, written, count=layout.num_pixels)
        return values.reshape(layout.rows, layout.columns)
    if syntax in _LITTLE_ENDIAN or syntax == ExplicitVRBigEndian:
        found: NDArray[np.integer] = pixel_array(header, index=0, raw=True)
        return found
    frame = next(generate_frames(header.PixelData, number_of_frames=1))
    return decode_compressed(frame, syntax, layout)


def _single_channel(pixels: NDArray[np.integer], layout: Layout) -> NDArray[np.integer]:
    """Grey values, also from a colour picture without colour; those with colour are refused."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    thinned = pixels[::_COLOUR_STEP, ::_COLOUR_STEP].astype(np.int32)
    # Decoders of compressed pictures give red, green and blue; uncompressed ones are left as they are.
    chrominance = layout.photometric.startswith("YBR") and not _is_grey(thinned, thinned[..., :1])
    grey = _NO_CHROMINANCE if chrominance else thinned[..., :1]
    if not _is_grey(thinned, grey):
        raise Refused(Reason.COLOUR)
    return pixels[..., 0]


def _is_grey(pixels: NDArray[np.int32], grey: NDArray[np.int32] | int) -> bool:
    return bool(np.abs(pixels[..., 1:] - grey).max() <= _MAX_COLOUR_DIFFERENCE)

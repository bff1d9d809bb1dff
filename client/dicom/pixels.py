"""Stored pixel values of one frame, decoded only after the header's promises have been checked."""

import struct

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
    RLELossless,
)

from client.dicom.header import DAMAGED_FILE_ERRORS, identifier, whole_number, words
from client.dicom.rejection import Reason, Refused

# Transfer syntax -> the one pydicom plugin trusted with it ("" where nothing is compressed). Never
# pydicom's own order of plugins: some installed ones return damaged pictures without an error.
_DECODERS: dict[str, str] = {
    ImplicitVRLittleEndian: "",
    ExplicitVRLittleEndian: "",
    ExplicitVRBigEndian: "",
    DeflatedExplicitVRLittleEndian: "",
    RLELossless: "pydicom",
}
_MIN_SIDE = 32
_MAX_COLOUR_DIFFERENCE = 12
_MAX_RLE_SEGMENTS = 15


def decode_frame(header: Dataset, *, max_pixels: int) -> NDArray[np.int32]:
    """Decode the only frame to stored values (row, column), whatever its bits, sign or byte order.

    Raises:
        Refused: with the reason, also for everything the decoder raises on damaged data.
    """
    _check_promises(header, max_pixels=max_pixels)
    syntax = identifier(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")
    if syntax not in _DECODERS:
        raise Refused(Reason.NO_DECODER)
    try:
        if syntax == RLELossless:
            _check_rle_expansion(header)
        pixels = pixel_array(header, index=0, raw=True, decoding_plugin=_DECODERS[syntax])
    except DAMAGED_FILE_ERRORS as error:
        raise Refused(Reason.DECODE_FAILED) from error
    return _single_channel(pixels).astype(np.int32)


def _check_promises(header: Dataset, *, max_pixels: int) -> None:
    """Refuse what the header alone rules out, before any memory is spent on pixels."""
    if "PixelData" not in header:
        raise Refused(Reason.NO_PIXELS)
    rows = whole_number(header, "Rows", default=0)
    columns = whole_number(header, "Columns", default=0)
    if min(rows, columns) < _MIN_SIDE:
        raise Refused(Reason.BAD_GEOMETRY)
    if rows * columns > max_pixels:
        raise Refused(Reason.TOO_LARGE)
    if whole_number(header, "NumberOfFrames", default=1) > 1:
        raise Refused(Reason.MULTI_FRAME)
    if whole_number(header, "BitsAllocated", default=16) not in {8, 16}:
        raise Refused(Reason.DECODE_FAILED)
    if words(header, "PhotometricInterpretation") == "PALETTE COLOR":
        raise Refused(Reason.WRONG_KIND)


def _check_rle_expansion(header: Dataset) -> None:
    """Refuse run lengths that would unpack to more than twice the promised size."""
    frame = next(generate_frames(header.PixelData, number_of_frames=1))
    num_segments, *offsets = struct.unpack("<16L", frame[:64])
    if not 1 <= num_segments <= _MAX_RLE_SEGMENTS:
        raise Refused(Reason.DECODE_FAILED)
    ends = [*offsets[1:num_segments], len(frame)]
    promised = int(header.Rows) * int(header.Columns)
    for start, end in zip(offsets, ends, strict=False):
        if _unpacked_length(frame[start:end]) > 2 * promised:
            raise Refused(Reason.TOO_LARGE)


def _unpacked_length(segment: bytes) -> int:
    """Bytes that one PackBits segment of PS3.5 annex G unpacks to."""
    position = length = 0
    while position < len(segment):
        control = segment[position]
        if control > 128:
            length += 257 - control
            position += 2
        elif control < 128:
            length += control + 1
            position += control + 2
        else:
            position += 1
    return length


def _single_channel(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    """Grey values, also from a colour picture whose channels agree; colour pictures are refused."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise Refused(Reason.WRONG_KIND)
    thinned = pixels[::8, ::8].astype(np.int32)
    if np.abs(thinned - thinned[..., :1]).max() > _MAX_COLOUR_DIFFERENCE:
        raise Refused(Reason.WRONG_KIND)
    return pixels[..., 0]

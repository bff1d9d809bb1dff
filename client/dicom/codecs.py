"""Transfer syntax -> the one decoder that is trusted with it.

All are in imagecodecs (BSD): libjpeg-turbo for JPEG with 8, 12 and 16 bits, lossless or not; CharLS for
JPEG-LS; OpenJPEG for JPEG 2000 and for its high-throughput kind, where OpenJPH is twice as fast but made
pictures of 216 of 250 damaged files, some of them 96 % wrong; OpenJPEG did of 29, at most 3 % wrong. CharLS
refused every damaged file that was tried. What libjpeg lets pass is found in `intact`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from struct import unpack_from

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.dicom.codestream import (
    BASELINE,
    EXTENDED,
    JPEG_2000,
    JPEG_LS,
    LOSSLESS,
    PROGRESSIVE,
    Codestream,
    read_codestream,
)
from client.dicom.intact import ends_with_its_data
from client.dicom.layout import Layout
from client.dicom.rejection import Reason, Refused

Pixels = NDArray[np.integer]
_RLE_HEADER_BYTES = 64
_MOST_SEGMENTS = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """A decoder, and whether it was installed: builds of imagecodecs may leave some out."""

    name: str
    """Its name in imagecodecs."""
    decode: Callable[[bytes, Layout], Pixels]
    """Frame -> (row, column) or (row, column, sample)."""

    @property
    def is_installed(self) -> bool:
        """Whether it can be called."""
        return bool(getattr(imagecodecs, self.name).available)


def decode_compressed(frame: bytes, syntax: str, layout: Layout) -> Pixels:
    """Decode one frame, of which the header promises the layout.

    Raises:
        Refused: no decoder; another picture than promised; damaged.
        RuntimeError, struct.error, ValueError: damaged as well.
    """
    codec = CODECS.get(syntax)
    if codec is None or not codec.is_installed:
        raise Refused(Reason.NO_DECODER)
    pixels = codec.decode(frame, layout)
    if pixels.shape[:2] != (layout.rows, layout.columns):
        raise Refused(Reason.DECODE_FAILED)
    return pixels


def _rle(frame: bytes, layout: Layout) -> Pixels:
    """Segments of PackBits, one for each byte of each sample, high bytes first (PS3.5 annex G)."""
    num_segments, *offsets = unpack_from("<16L", frame)
    width = layout.bits_allocated // 8
    if num_segments != layout.samples * width or num_segments > _MOST_SEGMENTS:
        raise Refused(Reason.DECODE_FAILED)
    planes = np.empty((layout.samples, width, layout.num_pixels), np.uint8)
    ends = [*offsets[1:num_segments], len(frame)]
    for plane, start, end in zip(
        planes.reshape(num_segments, -1), offsets[:num_segments], ends, strict=True
    ):
        plane[:] = _unpacked(frame[max(start, _RLE_HEADER_BYTES) : end], layout.num_pixels)
    values = planes[:, 0].astype(layout.dtype)
    if width == 2:
        np.left_shift(values, 8, out=values)
        np.bitwise_or(values, planes[:, 1], out=values)
    return values.T.reshape(layout.rows, layout.columns, layout.samples)


def _unpacked(segment: bytes, length: int) -> NDArray[np.uint8]:
    """Exactly the promised bytes: the room ends two bytes later, so that nothing can unpack for ever."""
    unpacked = imagecodecs.packbits_decode(segment, out=bytearray(length + 2))
    return np.frombuffer(unpacked, np.uint8, count=length)


def _jpeg(frame: bytes, layout: Layout) -> Pixels:
    stream = _checked(frame, layout, {BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS})
    # Left alone, libjpeg takes three components for luminance and chrominance.
    colour_space = "RGB" if layout.photometric == "RGB" else None
    decode = partial(imagecodecs.jpeg8_decode, colorspace=colour_space)
    pixels = decode(stream.data)
    if not ends_with_its_data(stream, pixels, decode):
        raise Refused(Reason.DECODE_FAILED)
    return pixels


def _jpeg_ls(frame: bytes, layout: Layout) -> Pixels:
    return imagecodecs.jpegls_decode(_checked(frame, layout, {JPEG_LS}).data)


def _jpeg2000(frame: bytes, layout: Layout) -> Pixels:
    return imagecodecs.jpeg2k_decode(_checked(frame, layout, {JPEG_2000}).data, numthreads=1)


def _checked(frame: bytes, layout: Layout, processes: set[int]) -> Codestream:
    stream = read_codestream(frame)
    if stream.process not in processes:
        raise Refused(Reason.DECODE_FAILED)
    stream.check_against(layout)
    return stream


_RLE = Codec(name="PACKBITS", decode=_rle)
_JPEG = Codec(name="JPEG8", decode=_jpeg)
_JPEG_LS = Codec(name="JPEGLS", decode=_jpeg_ls)
_JPEG_2000 = Codec(name="JPEG2K", decode=_jpeg2000)
CODECS: dict[str, Codec] = {
    RLELossless: _RLE,
    JPEGBaseline8Bit: _JPEG,
    JPEGExtended12Bit: _JPEG,
    JPEGLossless: _JPEG,
    JPEGLosslessSV1: _JPEG,
    JPEGLSLossless: _JPEG_LS,
    JPEGLSNearLossless: _JPEG_LS,
    JPEG2000Lossless: _JPEG_2000,
    JPEG2000: _JPEG_2000,
    HTJ2KLossless: _JPEG_2000,
    HTJ2KLosslessRPCL: _JPEG_2000,
    HTJ2K: _JPEG_2000,
}

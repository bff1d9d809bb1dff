"""A PNG or JPEG file -> what DICOM's pixel data takes, without the loss of a single grey level.

Grey JPEG of the baseline process is taken over byte for byte. Everything else is decoded and compressed again
without loss (JPEG-LS, ISO 14495-1); pictures in colour channels that agree become grey.
"""

from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGLSLossless

_PNG, _JPEG, _JPEG_END = b"\x89PNG", b"\xff\xd8\xff", b"\xff\xd9"
_SIZED = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_BASELINE = 0xC0
_MAX_TRAILER = 4096
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))
_SCAN = 0xDA


class PictureDamaged(ValueError):
    """Not a whole PNG or JPEG."""

    def __init__(self) -> None:
        super().__init__("the picture is damaged, or neither PNG nor JPEG")


class PictureInColour(ValueError):
    """Colours that mean something."""

    def __init__(self) -> None:
        super().__init__("the picture is in colour")


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelData:
    """One grey picture, compressed; white is the highest value."""

    content: bytes = field(repr=False)
    """A whole code stream."""
    transfer_syntax: UID
    rows: int
    columns: int
    bits: int
    """8 or 16 per pixel."""

    @property
    def is_lossy(self) -> bool:
        """Whether the picture had been compressed with loss."""
        return self.transfer_syntax == JPEGBaseline8Bit


def pixel_data(path: Path) -> PixelData:
    """Read a picture.

    Raises:
        PictureDamaged: cut off, or in another format.
        PictureInColour: its channels differ.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    if content.startswith(_JPEG):
        content = _whole_jpeg(content)
        shape = _grey_baseline_shape(content)
        if shape is not None:
            return PixelData(
                content=content,
                transfer_syntax=JPEGBaseline8Bit,
                rows=shape[0],
                columns=shape[1],
                bits=8,
            )
    return _lossless(_grey(_decoded(content)))


def _whole_jpeg(content: bytes) -> bytes:
    """The code stream up to its end; one that breaks off would decode to a picture all the same."""
    end = content.rfind(_JPEG_END, -_MAX_TRAILER)
    if end < 0:
        raise PictureDamaged
    return content[: end + len(_JPEG_END)]


def _decoded(content: bytes) -> NDArray[np.generic]:
    decode = imagecodecs.png_decode if content.startswith(_PNG) else imagecodecs.jpeg8_decode
    if not content.startswith((_PNG, _JPEG)):
        raise PictureDamaged
    try:
        return np.asarray(decode(content))
    except (RuntimeError, ValueError) as err:
        raise PictureDamaged from err


def _grey(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    """The grey values of one, two (with opacity), three or four channels (with opacity)."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3:
        raise PictureDamaged
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    if (colours != colours[..., :1]).any():
        raise PictureInColour
    return pixels[..., 0]


def _lossless(pixels: NDArray[np.generic]) -> PixelData:
    if pixels.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        raise PictureDamaged
    return PixelData(
        content=bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(pixels))),
        transfer_syntax=JPEGLSLossless,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        bits=8 * pixels.dtype.itemsize,
    )


def _grey_baseline_shape(content: bytes) -> tuple[int, int] | None:
    """Rows and columns, if the frame header says baseline process, 8 bits, one channel."""
    position = 2
    while position + 10 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker in _SIZED:
            frame = content[position + 4 : position + 10]
            is_grey = marker == _BASELINE and frame[0] == 8 and frame[5] == 1
            size = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
            return size if is_grey else None
        if marker == _SCAN:
            return None
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        position += 2 if marker in _WITHOUT_LENGTH or marker == 0xFF else 2 + length
    return None

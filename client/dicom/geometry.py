"""From a picture of any shape to the square one the network sees.

Brightness is float32 in [0, 1] with white for dense; NaN never occurs. `measured` is False where the
picture holds filling instead of a measurement.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset

from client.dicom.header import numbers
from client.dicom.rejection import Reason, Refused

Brightness = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FLAT = 0.02
_MIN_KEPT_SHARE = 0.5
_MIN_CONTRAST = 0.02
_STRETCH_PERCENTILES = (0.5, 99.5)
_FULL_SCALE = 65535


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Brightness and where it was measured, both of shape (row, column)."""

    brightness: Brightness
    measured: Mask

    def part(self, rows: slice, columns: slice) -> "Picture":
        """The picture inside a window, or flipped where a slice runs backwards."""
        return Picture(
            brightness=self.brightness[rows, columns], measured=self.measured[rows, columns]
        )


def without_border(picture: Picture) -> Picture:
    """Cut constant rows and columns at the edges: collimator leaves, shutters, filling.

    Judged by content because the tags that should say so are often wrong. A cut that would remove
    more than half of a side is a sign of something else and is not made.
    """
    brightness = picture.brightness
    step = max(1, min(brightness.shape) // 256)
    thinned = brightness[::step, ::step]
    rows = _extent(np.ptp(thinned, axis=1) > _FLAT, step, brightness.shape[0])
    columns = _extent(np.ptp(thinned, axis=0) > _FLAT, step, brightness.shape[1])
    return picture if rows is None or columns is None else picture.part(rows, columns)


def _extent(busy: Mask, step: int, length: int) -> slice | None:
    """From the first to the last busy line, in full-resolution lines; None if that is too little."""
    found = np.flatnonzero(busy)
    if not found.size:
        return None
    first, last = int(found[0]) * step, min((int(found[-1]) + 1) * step, length)
    return slice(first, last) if last - first >= _MIN_KEPT_SHARE * length else None


def pixel_aspect(header: Dataset) -> float:
    """Height of a pixel divided by its width; 1 where the header says nothing believable."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        found = numbers(header, keyword)
        if len(found) == 2 and min(found) > 0:
            aspect = found[0] / found[1]
            return aspect if 0.5 <= aspect <= 2.0 else 1.0
    return 1.0


def to_square(picture: Picture, *, aspect: float, image_size: int) -> NDArray[np.uint16]:
    """Resize without aliasing, stretch the contrast, and centre on black, (image_size, image_size).

    The contrast is stretched on the small picture, between two percentiles of what was measured: the
    same chest then looks alike whatever the machine's bits and window, and it costs almost nothing.

    Raises:
        Refused: nothing, or almost no contrast, is left.
    """
    rows, columns = _fitted_shape(picture.brightness.shape, aspect, image_size)
    small = _resize(picture.brightness, rows, columns)
    filled = np.zeros_like(small)
    if not picture.measured.all():
        filled = _resize((~picture.measured).astype(np.float32), rows, columns)
    stretched = _stretch(small, measured=filled < 0.5)
    square = np.zeros((image_size, image_size), np.uint16)
    top, left = (image_size - rows) // 2, (image_size - columns) // 2
    square[top : top + rows, left : left + columns] = np.rint(stretched * _FULL_SCALE)
    return square


def _fitted_shape(shape: tuple[int, ...], aspect: float, image_size: int) -> tuple[int, int]:
    height, width = shape[0] * aspect, float(shape[1])
    scale = image_size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resize(values: Brightness, rows: int, columns: int) -> Brightness:
    """Average over the area that falls into each new pixel, so that fine grids cannot alias."""
    if values.shape == (rows, columns):
        return values
    picture = Image.fromarray(np.ascontiguousarray(values))
    resized = picture.resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(resized, np.float32)


def _stretch(values: Brightness, *, measured: Mask) -> Brightness:
    if not measured.any():
        raise Refused(Reason.BLANK)
    low, high = np.percentile(values[measured], _STRETCH_PERCENTILES)
    if high - low < _MIN_CONTRAST:
        raise Refused(Reason.LOW_CONTRAST)
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.0), np.float32)

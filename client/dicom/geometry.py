"""From a picture of any shape to the square one the network sees."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset

from client.dicom.header import numbers
from client.dicom.picture import Brightness, Mask, Picture, block_means
from client.dicom.rejection import Reason, Refused

_LINES_LOOKED_AT = 256
_FLAT = 0.02
_MIN_KEPT_SHARE = 0.5
_MIN_CONTRAST = 0.02
_STRETCH_PERCENTILES = (0.5, 99.5)
_FULL_SCALE = 65535
_MIDDLE = (0.2, 0.8)
_EXTREME = 0.002
_LEFT_TO_RESIZE = 2.0
"""Averaging of whole blocks ends this far above the final size; the rest needs a smooth filter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    """The square picture that is kept, and what it was made of."""

    image: NDArray[np.uint16]
    """(image_size, image_size), the rest black."""
    part: tuple[slice, slice]
    """Rows and columns that the picture covers."""
    enlargement: float
    """Above 1 where pixels had to be made up."""
    extreme_share: float
    """Of the middle of the picture, the share that was pure black or pure white before stretching."""

    @property
    def covered(self) -> NDArray[np.uint16]:
        """The picture without the black beside it."""
        return self.image[self.part]


def without_border(picture: Picture) -> Picture:
    """Cut constant rows and columns at the edges: collimator leaves, shutters, filling.

    Judged by content because the tags that should say so are often wrong. A cut that would remove
    more than half of a side is a sign of something else and is not made.
    """
    step = max(1, min(picture.shape) // _LINES_LOOKED_AT)
    thinned = picture.brightness(step=step)
    rows = _extent(np.ptp(thinned, axis=1) > _FLAT, step, picture.shape[0])
    columns = _extent(np.ptp(thinned, axis=0) > _FLAT, step, picture.shape[1])
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


def to_square(picture: Picture, *, aspect: float, image_size: int) -> Square:
    """Resize without aliasing, stretch the contrast, and centre on black.

    The contrast is stretched on the small picture, between two percentiles of what was measured: the
    same chest then looks alike whatever the machine's bits and window, and it costs almost nothing.

    Raises:
        Refused: nothing, or almost no contrast, is left.
    """
    height, width = picture.shape[0] * aspect, float(picture.shape[1])
    scale = image_size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    factor = max(1, int(min(picture.shape[0] / rows, picture.shape[1] / columns) / _LEFT_TO_RESIZE))
    small = _resize(picture.reduced(factor), rows, columns)
    measured = _resized_mask(picture.measured, factor, rows, columns)
    top, left = (image_size - rows) // 2, (image_size - columns) // 2
    part = slice(top, top + rows), slice(left, left + columns)
    image = np.zeros((image_size, image_size), np.uint16)
    image[part] = np.rint(_stretch(small, measured) * _FULL_SCALE)
    return Square(
        image=image, part=part, enlargement=scale, extreme_share=_extreme_share(small, measured)
    )


def _extreme_share(values: Brightness, measured: Mask | None) -> float:
    rows, columns = (
        slice(*(round(share * length) for share in _MIDDLE)) for length in values.shape
    )
    middle = values[rows, columns]
    if measured is not None:
        middle = middle[measured[rows, columns]]
    extreme = (middle <= _EXTREME) | (middle >= 1.0 - _EXTREME)
    return float(extreme.mean()) if extreme.size else 0.0


def _resized_mask(measured: Mask | None, factor: int, rows: int, columns: int) -> Mask | None:
    if measured is None:
        return None
    whole = measured[: len(measured) // factor * factor, : measured.shape[1] // factor * factor]
    return _resize(block_means(whole.astype(np.float32), factor), rows, columns) > 0.5


def _resize(values: Brightness, rows: int, columns: int) -> Brightness:
    """Average over the area that falls into each new pixel, so that fine grids cannot alias."""
    if values.shape == (rows, columns):
        return values
    resized = Image.fromarray(values).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)


def _stretch(values: Brightness, measured: Mask | None) -> Brightness:
    shown = values if measured is None else values[measured]
    if not shown.size:
        raise Refused(Reason.BLANK)
    low, high = np.percentile(shown, _STRETCH_PERCENTILES)
    if high - low < _MIN_CONTRAST:
        raise Refused(Reason.LOW_CONTRAST)
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.0), np.float32)

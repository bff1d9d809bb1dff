"""From stored pixel values to what a radiologist sees, as one table over all stored values.

The chain of DICOM PS3.3 (C.11.1 modality, C.11.2 values of interest, C.11.6 presentation) depends on
nothing but the stored value, of which there are at most 65,536. Composing it once on those and looking
pixels up is exact, and several times faster than applying each step to millions of pixels. Besides, of
pydicom's own steps the one for tables of 8-bit output takes wrong entries when a table is longer than 256,
and the others raise on tables of 10, 12 or 14 bits, on padded names of functions and on widths below 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian

from client.dicom.header import (
    items,
    number,
    numbers,
    transfer_syntax,
    value_of,
    values_of,
    whole_number,
    words,
)

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """Values at one point of the chain, and the interval that the chain can reach there."""

    values: Values
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _LookupTable:
    """One item of a LUT sequence."""

    entries: Values
    first: int
    """Input value of the first entry; smaller inputs map to it, larger ones to the last entry."""
    highest: float
    """Largest output the table's declared bits allow."""

    def of(self, values: Values) -> Values:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[index.astype(np.int64)])


def display_table(
    header: Dataset, values: NDArray[np.int32], *, lowest: int, highest: int
) -> NDArray[np.float32]:
    """Brightness in [0, 1], white is dense, for every stored value.

    MONOCHROME1 is inverted here and nowhere else; a PresentationLUTShape of INVERSE states the same
    fact once more and is not a second inversion.

    Args:
        header: of the file.
        values: stored values, in any order.
        lowest: smallest value in the picture.
        highest: largest value in the picture; a window that shows nothing between the two is ignored.
    """
    scale = _apply_modality(header, values.astype(np.float64))
    held = _apply_modality(header, np.array([lowest, highest], np.float64)).values
    display = _apply_values_of_interest(header, scale, held=held)
    if words(header, "PhotometricInterpretation") == "MONOCHROME1":
        display = 1.0 - display
    return np.clip(display, 0.0, 1.0).astype(np.float32)


def padding_range(header: Dataset) -> tuple[int, int] | None:
    """Stored values, both inclusive, that fill the picture where nothing was measured."""
    value = number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = number(header, "PixelPaddingRangeLimit")
    ends = [_signed(header, end) for end in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _signed(header: Dataset, value: float) -> int:
    """A value that stands among signed ones, also if it was written as an unsigned one."""
    signed = whole_number(header, "PixelRepresentation", default=0) == 1
    return int(value) - 65536 if signed and value > 32767 else int(value)


def _apply_modality(header: Dataset, stored: Values) -> _Scale:
    table = _read_table(header, "ModalityLUTSequence")
    if table is not None:
        return _Scale(values=table.of(stored), low=0.0, high=table.highest)
    slope = number(header, "RescaleSlope") or 1.0  # a slope of 0 is a vendor's way to say nothing
    intercept = number(header, "RescaleIntercept") or 0.0
    ends = [end * slope + intercept for end in _stored_range(header)]
    return _Scale(values=stored * slope + intercept, low=min(ends), high=max(ends))


def _stored_range(header: Dataset) -> tuple[int, int]:
    bits = min(max(whole_number(header, "BitsStored", default=16), 1), 16)
    if whole_number(header, "PixelRepresentation", default=0) == 1:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _apply_values_of_interest(header: Dataset, scale: _Scale, *, held: Values) -> Values:
    """Apply the first table, else the first window, else show the whole range."""
    table = _read_table(header, "VOILUTSequence")
    if table is not None:
        return table.of(scale.values) / max(table.highest, 1.0)
    center, width = number(header, "WindowCenter"), number(header, "WindowWidth")
    function = words(header, "VOILUTFunction")
    if center is None or width is None or not _window_is_sane(center, width, function, held):
        return (scale.values - scale.low) / max(scale.high - scale.low, 1e-9)
    return _windowed(scale.values, center, width, function)


def _window_is_sane(center: float, width: float, function: str, held: Values) -> bool:
    narrowest = 1e-6 if function in {"LINEAR EXACT", "SIGMOID"} else 1.0
    overlaps = center - width / 2 < held.max() and center + width / 2 > held.min()
    return width >= narrowest and overlaps


def _windowed(values: Values, center: float, width: float, function: str) -> Values:
    """The three window functions of PS3.3 C.11.2.1.2 and C.11.2.1.3, onto [0, 1]."""
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (values - center) / width, -60.0, 60.0)
        return np.asarray(1.0 / (1.0 + np.exp(exponent)))
    if function != "LINEAR EXACT":
        center, width = center - 0.5, max(width - 1.0, 1e-6)
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def _read_table(header: Dataset, keyword: str) -> _LookupTable | None:
    """The first table of a LUT sequence, or None when there is none or it is malformed."""
    found = items(header, keyword)[:1]
    descriptor = numbers(found[0], "LUTDescriptor") if found else []
    if len(descriptor) != 3:
        return None
    length, first, bits = (int(value) for value in descriptor)
    length = length or 65536  # 16 bits cannot say 65536
    entries = _read_entries(header, found[0], length)
    if not entries.size or not 1 <= bits <= 16:
        return None
    highest = max(float(2**bits - 1), float(entries.max()))
    return _LookupTable(entries=entries, first=_signed(header, first), highest=highest)


def _read_entries(header: Dataset, item: Dataset, length: int) -> Values:
    data = value_of(item, "LUTData")
    if isinstance(data, bytes):
        wide = len(data) >= 2 * length
        data = data[: 2 * length] if wide else data[:length]
        return np.frombuffer(data, _entry_type(header, wide=wide)).astype(np.float64)
    listed = [entry for entry in values_of(item, "LUTData") if isinstance(entry, int)]
    return np.asarray(listed[:length], np.float64)


def _entry_type(header: Dataset, *, wide: bool) -> str:
    if not wide:
        return "u1"
    return ">u2" if transfer_syntax(header) == ExplicitVRBigEndian else "<u2"

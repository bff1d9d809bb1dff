"""The table over stored values equals DICOM's chain of steps."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from client.dicom.greyscale import display_table, padding_range

LARGEST = 4095


def header(**elements: object) -> Dataset:
    found = Dataset()
    found.BitsStored, found.BitsAllocated, found.PixelRepresentation = 12, 16, 0
    found.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def table_of(entries: list[int], *, first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (2.0, -500.0)])
def test_windows_agree_with_pydicom(function: str, slope: float, intercept: float) -> None:
    found = header(WindowCenter=1800, WindowWidth=1500, VOILUTFunction=function)
    found.RescaleSlope, found.RescaleIntercept = slope, intercept
    stored = np.arange(LARGEST + 1)
    expected = apply_voi_lut(apply_modality_lut(stored, found), found)
    low, high = intercept, LARGEST * slope + intercept
    table = display_table(found, lowest=0, highest=LARGEST)
    np.testing.assert_allclose(table, (expected - low) / (high - low), atol=1e-6)


def test_without_any_window_the_whole_range_is_shown() -> None:
    table = display_table(header(), lowest=0, highest=LARGEST)
    np.testing.assert_allclose(table, np.arange(LARGEST + 1) / LARGEST, atol=1e-6)


def test_a_table_of_values_of_interest_is_looked_up() -> None:
    found = header(VOILUTSequence=table_of([0, 10, 20, 1023], first=100, bits=10))
    table = display_table(found, lowest=99, highest=104)
    np.testing.assert_allclose(table * 1023, [0, 0, 10, 20, 1023, 1023], atol=1e-3)


def test_a_modality_table_feeds_the_window() -> None:
    found = header(ModalityLUTSequence=table_of([0, 500, 1000], first=0, bits=10))
    found.WindowCenter, found.WindowWidth, found.VOILUTFunction = 500, 1000, "LINEAR_EXACT"
    np.testing.assert_allclose(display_table(found, lowest=0, highest=2), [0, 0.5, 1], atol=1e-6)


def test_monochrome1_is_inverted_once_even_if_the_shape_says_so_again() -> None:
    plain = display_table(header(), lowest=0, highest=LARGEST)
    found = header(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    np.testing.assert_allclose(
        display_table(found, lowest=0, highest=LARGEST), 1.0 - plain, atol=1e-6
    )


@pytest.mark.parametrize(
    "nonsense",
    [
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 90000, "WindowWidth": 10},
        {"RescaleSlope": 0},
        {"VOILUTSequence": table_of([0], first=0, bits=99)},
        {"VOILUTSequence": Sequence([Dataset()])},
    ],
)
def test_nonsense_is_ignored(nonsense: dict[str, object]) -> None:
    plain = display_table(header(), lowest=0, highest=LARGEST)
    np.testing.assert_array_equal(
        display_table(header(**nonsense), lowest=0, highest=LARGEST), plain
    )


def test_signed_values_start_below_zero() -> None:
    table = display_table(header(PixelRepresentation=1), lowest=-2048, highest=2047)
    np.testing.assert_allclose(table[[0, -1]], [0.0, 1.0])


def test_padding_is_a_value_or_a_range_in_either_order() -> None:
    assert padding_range(header()) is None
    assert padding_range(header(PixelPaddingValue=7)) == (7, 7)
    assert padding_range(header(PixelPaddingValue=9, PixelPaddingRangeLimit=3)) == (3, 9)

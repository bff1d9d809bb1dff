"""The table over stored values equals DICOM's chain of steps."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from client.dicom.greyscale import display_table, padding_range

LARGEST = 4095
STORED = np.arange(LARGEST + 1, dtype=np.int32)


def shown(found: Dataset, stored: NDArray[np.int32] = STORED) -> NDArray[np.float32]:
    """Brightness of stored values that the picture all holds."""
    return display_table(found, stored, lowest=int(stored.min()), highest=int(stored.max()))


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
    expected = apply_voi_lut(apply_modality_lut(STORED, found), found)
    low, high = intercept, LARGEST * slope + intercept
    np.testing.assert_allclose(shown(found), (expected - low) / (high - low), atol=1e-6)


def test_without_any_window_the_whole_range_is_shown() -> None:
    np.testing.assert_allclose(shown(header()), STORED / LARGEST, atol=1e-6)


def test_a_table_of_values_of_interest_is_looked_up() -> None:
    found = header(VOILUTSequence=table_of([0, 10, 20, 1023], first=100, bits=10))
    table = shown(found, np.arange(99, 105, dtype=np.int32))
    np.testing.assert_allclose(table * 1023, [0, 0, 10, 20, 1023, 1023], atol=1e-3)


def test_a_modality_table_feeds_the_window() -> None:
    found = header(ModalityLUTSequence=table_of([0, 500, 1000], first=0, bits=10))
    found.WindowCenter, found.WindowWidth, found.VOILUTFunction = 500, 1000, "LINEAR_EXACT"
    np.testing.assert_allclose(shown(found, STORED[:3]), [0, 0.5, 1], atol=1e-6)


def test_monochrome1_is_inverted_once_even_if_the_shape_says_so_again() -> None:
    plain = shown(header())
    for shape in ("INVERSE", ""):
        found = header(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape)
        np.testing.assert_allclose(shown(found), 1.0 - plain, atol=1e-6)
    np.testing.assert_array_equal(shown(header(PresentationLUTShape="INVERSE")), plain)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 90000, "WindowWidth": 10},
        {"WindowCenter": 2000, "WindowWidth": 0.5},
        {"WindowCenter": 2000, "WindowWidth": -50},
        {"RescaleSlope": 0},
        {"VOILUTSequence": table_of([0], first=0, bits=99)},
        {"VOILUTSequence": Sequence([Dataset()])},
    ],
)
def test_nonsense_is_ignored(nonsense: dict[str, object]) -> None:
    plain = shown(header())
    np.testing.assert_array_equal(shown(header(**nonsense)), plain)


def test_signed_values_start_below_zero() -> None:
    table = shown(header(PixelRepresentation=1), np.arange(-2048, 2048, dtype=np.int32))
    np.testing.assert_allclose(table[[0, -1]], [0.0, 1.0])


def test_padding_is_a_value_or_a_range_in_either_order() -> None:
    assert padding_range(header()) is None
    assert padding_range(header(PixelPaddingValue=7)) == (7, 7)
    assert padding_range(header(PixelPaddingValue=9, PixelPaddingRangeLimit=3)) == (3, 9)


def test_a_signed_filling_written_as_unsigned_is_signed() -> None:
    assert padding_range(header(PixelRepresentation=1, PixelPaddingValue=65535)) == (-1, -1)


def test_of_several_windows_the_first_is_shown() -> None:
    one = header(WindowCenter=1000, WindowWidth=500)
    several = header(WindowCenter=[1000, 3000], WindowWidth=[500, 90])
    np.testing.assert_array_equal(shown(several), shown(one))


def test_a_window_that_shows_nothing_of_the_picture_is_ignored() -> None:
    found = header(WindowCenter=500, WindowWidth=400)
    bright = np.arange(2000, 4000, dtype=np.int32)
    np.testing.assert_allclose(shown(found, bright), bright / LARGEST, atol=1e-6)
    assert shown(found).max() == 1.0
    assert (shown(found)[:300] == 0.0).all()


def test_an_unknown_or_padded_name_of_a_function_is_linear() -> None:
    plain = shown(header(WindowCenter=1800, WindowWidth=1500))
    for name in ("LINEAR ", "GAMMA", ""):
        found = header(WindowCenter=1800, WindowWidth=1500, VOILUTFunction=name)
        np.testing.assert_array_equal(shown(found), plain)


@pytest.mark.parametrize("kind", ["US", "OW"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_tables_of_any_depth_are_looked_up_as_they_stand(bits: int, kind: str) -> None:
    entries = np.linspace(0, 2**bits - 1, 1000).astype(np.uint16)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [1000, 50, bits])
    item.add_new("LUTData", kind, entries.tolist() if kind == "US" else entries.tobytes())
    found = header(VOILUTSequence=Sequence([item]))
    expected = entries[np.clip(STORED - 50, 0, 999)] / (2**bits - 1)
    np.testing.assert_allclose(shown(found), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_modality_tables_agree_with_pydicom(bits: int) -> None:
    entries = np.linspace(2**bits - 1, 0, 1000).astype(int).tolist()
    found = header(ModalityLUTSequence=table_of(entries, first=20, bits=bits))
    expected = apply_modality_lut(STORED, found) / (2**bits - 1)
    np.testing.assert_allclose(shown(found), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_tables_of_interest_agree_with_pydicom(bits: int) -> None:
    entries = (np.linspace(0, 1, 4096) ** 2 * (2**bits - 1)).astype(int).tolist()
    found = header(VOILUTSequence=table_of(entries, first=0, bits=bits))
    expected = apply_voi_lut(STORED.astype(np.uint16), found) / (2**bits - 1)
    np.testing.assert_allclose(shown(found), expected, atol=1e-6)


def test_a_table_over_signed_values_starts_below_zero() -> None:
    item = table_of([0, 500, 1023], first=65534, bits=10)  # -2, written as unsigned
    found = header(PixelRepresentation=1, VOILUTSequence=item)
    table = shown(found, np.arange(-3, 2, dtype=np.int32))
    np.testing.assert_allclose(table * 1023, [0, 0, 500, 1023, 1023], atol=1e-3)

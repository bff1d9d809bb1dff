"""One radiograph, written in every way a machine or archive may write it, is one picture."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import FileDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.dicom.greyscale import display_table
from client.dicom.header import DAMAGED_FILE_ERRORS
from client.dicom.outcome import Radiograph
from client.dicom.pixels import decode_frame
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Refused

Build = Callable[..., FileDataset]
Save = Callable[..., Path]

LOSSLESS = [
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
]
LOSSY = [JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K]
ONE_GREY_LEVEL = 1 / 255
"""Of 8 bits; more is visible to nobody. What is rounded differently is closer than this on average."""


def read(path: Path) -> Radiograph:
    found = read_file(path, image_size=64, policy=ReadPolicy())
    assert isinstance(found, Radiograph), found
    return found


def mean_difference(first: Radiograph, second: Radiograph) -> float:
    shares = [found.image.astype(np.float64) / 65535 for found in (first, second)]
    return float(np.abs(shares[0] - shares[1]).mean())


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_whatever_loses_nothing_gives_the_same_pixels(
    radiograph_of: Build, saved: Save, syntax: UID, bits: int
) -> None:
    reference = read(saved(radiograph_of(bits=bits)))
    found = read(saved(radiograph_of(bits=bits), syntax))
    np.testing.assert_array_equal(found.image, reference.image)
    assert found.pixel_digest == reference.pixel_digest
    assert found.flags == reference.flags


@pytest.mark.parametrize("syntax", [*LOSSLESS, ExplicitVRLittleEndian])
def test_signed_values_are_the_same_in_every_compression(
    radiograph_of: Build, saved: Save, syntax: UID
) -> None:
    reference = read(saved(radiograph_of(modality="CR")))
    found = read(saved(radiograph_of(modality="CR", signed=True), syntax))
    np.testing.assert_array_equal(found.image, reference.image)


@pytest.mark.parametrize("syntax", LOSSY)
def test_loss_stays_below_a_grey_level(radiograph_of: Build, saved: Save, syntax: UID) -> None:
    reference = read(saved(radiograph_of()))
    found = read(saved(radiograph_of(), syntax))
    assert mean_difference(found, reference) < ONE_GREY_LEVEL
    assert found.pixel_digest != reference.pixel_digest


def test_loss_in_8_bits_stays_below_two_grey_levels(radiograph_of: Build, saved: Save) -> None:
    reference = read(saved(radiograph_of(bits=8)))
    found = read(saved(radiograph_of(bits=8), JPEGBaseline8Bit))
    assert mean_difference(found, reference) < 2 * ONE_GREY_LEVEL


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("modality", "bits"), [("DX", 8), ("CR", 10), ("DX", 14), ("CR", 16)])
def test_the_same_chest_looks_the_same_from_every_machine(
    radiograph_of: Build, saved: Save, modality: str, bits: int, photometric: str
) -> None:
    reference = read(saved(radiograph_of()))
    other = radiograph_of(modality=modality, bits=bits, photometric=photometric)
    assert mean_difference(read(saved(other)), reference) < 1.2 * ONE_GREY_LEVEL


@pytest.mark.parametrize("values_of_interest", ["window", "none"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_signs_and_windows_do_not_change_the_chest(
    radiograph_of: Build, saved: Save, photometric: str, values_of_interest: str
) -> None:
    reference = read(saved(radiograph_of(modality="CR")))
    variant = radiograph_of(
        modality="CR",
        photometric=photometric,
        values_of_interest=values_of_interest,
        signed=True,
    )
    assert mean_difference(read(saved(variant)), reference) < ONE_GREY_LEVEL


@pytest.mark.parametrize("values_of_interest", ["sigmoid", "table"])
def test_a_curve_is_the_same_for_either_way_to_store_it(
    radiograph_of: Build, saved: Save, values_of_interest: str
) -> None:
    plain, inverted = (
        read(saved(radiograph_of(values_of_interest=values_of_interest, photometric=photometric)))
        for photometric in ("MONOCHROME2", "MONOCHROME1")
    )
    straight = read(saved(radiograph_of()))
    assert mean_difference(plain, inverted) < ONE_GREY_LEVEL
    assert mean_difference(plain, straight) > 5 * ONE_GREY_LEVEL


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLossless])
def test_overlays_in_unused_bits_are_not_seen(
    radiograph_of: Build, saved: Save, syntax: UID
) -> None:
    reference = read(saved(radiograph_of()))
    radiograph = radiograph_of()
    pixels = radiograph.pixel_array.copy()
    rubbish = np.random.default_rng(1).integers(0, 16, pixels.shape, dtype=np.uint16)
    radiograph.BitsStored, radiograph.HighBit = 16, 15
    radiograph.PixelData = (pixels | rubbish << 12).tobytes()
    above = saved(radiograph, syntax, BitsStored=12, HighBit=11)
    radiograph.PixelData = (pixels << 4 | rubbish).tobytes()
    radiograph.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    below = saved(radiograph, BitsStored=12, HighBit=15)
    for path in (above, below):
        found = read(path)
        np.testing.assert_array_equal(found.image, reference.image)
        assert found.pixel_digest == reference.pixel_digest


def in_colour(radiograph: FileDataset, pixels: NDArray[np.integer], photometric: str) -> None:
    radiograph.SamplesPerPixel, radiograph.PlanarConfiguration = 3, 0
    radiograph.PhotometricInterpretation = photometric
    radiograph.PixelData = pixels.tobytes()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_grey_stored_as_colour_is_grey(radiograph_of: Build, saved: Save, syntax: UID) -> None:
    reference = read(saved(radiograph_of(bits=8)))
    radiograph = radiograph_of(bits=8)
    in_colour(radiograph, np.repeat(radiograph.pixel_array[..., None], 3, axis=2), "RGB")
    found = read(saved(radiograph, syntax))
    np.testing.assert_array_equal(found.image, reference.image)


def test_luminance_without_chrominance_is_grey(radiograph_of: Build, saved: Save) -> None:
    reference = read(saved(radiograph_of(bits=8)))
    radiograph = radiograph_of(bits=8)
    grey = radiograph.pixel_array
    neutral = np.full_like(grey, 128)
    in_colour(radiograph, np.stack([grey, neutral, neutral], axis=2), "YBR_FULL")
    np.testing.assert_array_equal(read(saved(radiograph)).image, reference.image)


def with_numbered_components(frame: bytes) -> bytes:
    """Without what libjpeg writes to say that components are red, green and blue."""
    for number, name in enumerate(b"RGB", start=1):
        for behind in (b"\x11\x00", b"\x00"):
            frame = frame.replace(bytes([name]) + behind, bytes([number]) + behind, 1)
    return frame.replace(b"Adobe", b"other")


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_a_grey_jpeg_of_three_components_is_grey(
    radiograph_of: Build, saved: Save, photometric: str
) -> None:
    import imagecodecs

    reference = read(saved(radiograph_of(bits=8)))
    radiograph = radiograph_of(bits=8)
    grey = np.repeat(radiograph.pixel_array[..., None], 3, axis=2)
    space = "RGB" if photometric == "RGB" else "YCBCR"
    frame = imagecodecs.jpeg8_encode(grey, level=95, colorspace="RGB", outcolorspace=space)
    frame = with_numbered_components(bytes(frame))
    in_colour(radiograph, grey, photometric)
    radiograph.PixelData = encapsulate([frame])
    radiograph["PixelData"].VR, radiograph["PixelData"].is_undefined_length = "OB", True
    radiograph.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    path = saved(radiograph_of())
    radiograph.save_as(path)
    assert mean_difference(read(path), reference) < 2 * ONE_GREY_LEVEL


def test_every_grey_file_of_pydicoms_collection_decodes_to_what_pydicom_decodes() -> None:
    folder = Path(str(get_testdata_file("CT_small.dcm", download=False))).parent
    decoded = []
    for path in sorted(folder.glob("*.dcm")):
        with suppress(*DAMAGED_FILE_ERRORS, Refused, Warning):
            file = dcmread(path)
            stored = decode_frame(file, max_pixels=2**20)
            # pydicom raises for what is beyond the installed plugins.
            decoded.append((path.name, file.pixel_array, stored.values[stored.patterns]))
    assert len(decoded) > 15
    for name, expected, found in decoded:
        grey = expected[..., 0] if expected.ndim == 3 else expected
        np.testing.assert_array_equal(found, grey, err_msg=name)


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm", "RG3_UNCR.dcm"])
def test_real_files_are_shown_as_pydicom_shows_them(name: str) -> None:
    path = get_testdata_file(name, download=False)
    if not isinstance(path, str):
        pytest.skip("pydicom-data is not installed")
    file = dcmread(path)
    stored = decode_frame(file, max_pixels=2**22)
    values = stored.values[stored.patterns]
    table = display_table(file, stored.values, lowest=int(values.min()), highest=int(values.max()))
    expected = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file).astype(np.float64)
    found = table[stored.patterns].astype(np.float64)
    if file.PhotometricInterpretation == "MONOCHROME1":
        found = 1.0 - found
    scale, offset = np.polyfit(expected.ravel(), found.ravel(), 1)
    assert scale > 0
    np.testing.assert_allclose(found, expected * scale + offset, atol=1e-5)

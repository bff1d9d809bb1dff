"""Whatever is not one chest radiograph of a person, of a kind that is used, is refused by its header."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import FileDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)

from client.dicom.outcome import Outcome, Radiograph
from client.dicom.policy import ReadPolicy, View
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection

Build = Callable[..., FileDataset]
Save = Callable[..., Path]


def read(path: Path, policy: ReadPolicy | None = None) -> Outcome:
    return read_file(path, image_size=64, policy=policy or ReadPolicy())


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, Reason.WRONG_KIND),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Reason.WRONG_KIND),
        ({"SOPClassUID": DigitalMammographyXRayImageStorageForPresentation}, Reason.WRONG_KIND),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.COLOUR),
        ({"PatientSpeciesDescription": "Feline"}, Reason.NOT_HUMAN),
        ({"QualityControlImage": "YES"}, Reason.CALIBRATION),
        ({"CalibrationImage": "YES"}, Reason.CALIBRATION),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN),
        ({"SyntheticData": "YES"}, Reason.SYNTHETIC),
        ({"BodyPartExamined": "ABDOMEN"}, Reason.NOT_CHEST),
        ({"NumberOfFrames": 2}, Reason.MULTI_FRAME),
        ({"Rows": 0}, Reason.BAD_GEOMETRY),
        ({"Rows": 31}, Reason.BAD_GEOMETRY),
        ({"Rows": 60000, "Columns": 60000}, Reason.TOO_LARGE),
        ({"Rows": 97}, Reason.DECODE_FAILED),
        ({"BitsAllocated": 32}, Reason.DECODE_FAILED),
        ({"BitsAllocated": 1}, Reason.DECODE_FAILED),
        ({"BitsStored": 7}, Reason.DECODE_FAILED),
        ({"BitsStored": 17}, Reason.DECODE_FAILED),
        ({"HighBit": 3}, Reason.DECODE_FAILED),
        ({"HighBit": 16}, Reason.DECODE_FAILED),
        ({"SamplesPerPixel": 2}, Reason.DECODE_FAILED),
        ({"SamplesPerPixel": 4}, Reason.DECODE_FAILED),
    ],
)
def test_a_header_is_enough_to_refuse(
    radiograph_of: Build, saved: Save, elements: dict[str, object], reason: Reason
) -> None:
    assert read(saved(radiograph_of(), **elements)) == Rejection(reason=reason)


def test_a_file_without_pixels_or_without_contrast_is_refused(
    radiograph_of: Build, saved: Save, chest: np.ndarray
) -> None:
    flat = saved(radiograph_of(np.full((64, 64), 0.5)))
    faint = saved(radiograph_of(0.5 + 0.01 * chest))
    without = radiograph_of()
    del without.PixelData
    assert read(flat) == Rejection(reason=Reason.BLANK)
    assert read(faint) == Rejection(reason=Reason.LOW_CONTRAST)
    assert read(saved(without)) == Rejection(reason=Reason.NO_PIXELS)


def test_a_picture_of_nothing_but_filling_is_blank(radiograph_of: Build, saved: Save) -> None:
    for purpose in ("presentation", "processing"):
        radiograph = radiograph_of(purpose=purpose)
        radiograph.add_new("PixelPaddingValue", "US", 0)
        radiograph.add_new("PixelPaddingRangeLimit", "US", 4095)
        assert read(saved(radiograph)) == Rejection(reason=Reason.BLANK)


def test_a_picture_in_colour_is_refused(radiograph_of: Build, saved: Save) -> None:
    radiograph = radiograph_of(bits=8)
    grey = radiograph.pixel_array
    radiograph.SamplesPerPixel, radiograph.PlanarConfiguration = 3, 0
    radiograph.PhotometricInterpretation = "RGB"
    radiograph.PixelData = np.stack([grey, grey // 2, grey], axis=2).tobytes()
    assert read(saved(radiograph)) == Rejection(reason=Reason.COLOUR)


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        (MultiFrameGrayscaleByteSecondaryCaptureImageStorage, 8),
        (MultiFrameGrayscaleWordSecondaryCaptureImageStorage, 12),
    ],
)
def test_a_capture_of_frames_is_read_if_it_holds_one(
    radiograph_of: Build, saved: Save, kind: str, bits: int
) -> None:
    captured = radiograph_of(purpose="capture", bits=bits)
    reference = read(saved(captured))
    found = read(saved(captured, SOPClassUID=kind, NumberOfFrames=1))
    several = read(saved(captured, SOPClassUID=kind, NumberOfFrames=3))
    assert isinstance(reference, Radiograph)
    assert isinstance(found, Radiograph)
    np.testing.assert_array_equal(found.image, reference.image)
    assert several == Rejection(reason=Reason.MULTI_FRAME)


def test_a_hospital_may_refuse_what_was_captured_a_second_time(
    radiograph_of: Build, saved: Save
) -> None:
    policy = ReadPolicy(secondary_capture=False)
    captured = saved(radiograph_of(purpose="capture"))
    assert read(captured, policy) == Rejection(reason=Reason.SECONDARY)
    assert isinstance(read(captured), Radiograph)
    assert isinstance(read(saved(radiograph_of()), policy), Radiograph)


def test_a_hospital_may_use_what_a_program_made(radiograph_of: Build, saved: Save) -> None:
    assert isinstance(read(saved(radiograph_of(), SyntheticData="NO")), Radiograph)
    made = saved(radiograph_of(), SyntheticData="YES")
    assert read(made) == Rejection(reason=Reason.SYNTHETIC)
    assert isinstance(read(made, ReadPolicy(synthetic=True)), Radiograph)


@pytest.mark.parametrize(("age", "is_used"), [("017Y", False), ("018Y", True), ("", True)])
def test_a_hospital_may_refuse_the_young(
    radiograph_of: Build, saved: Save, age: str, *, is_used: bool
) -> None:
    found = read(saved(radiograph_of(), PatientAge=age), ReadPolicy(min_age=18))
    assert found == Rejection(reason=Reason.TOO_YOUNG) or is_used
    assert isinstance(found, Radiograph) == is_used


@pytest.mark.parametrize(
    ("view", "views", "reason"),
    [
        ("LATERAL", ("PA", "AP", "OTHER"), Reason.LATERAL),
        ("AP", ("PA", "LATERAL"), Reason.OTHER_VIEW),
        ("PA", ("PA",), None),
        ("LATERAL", ("LATERAL",), None),
    ],
)
def test_a_hospital_chooses_the_views(
    radiograph_of: Build, saved: Save, view: str, views: tuple[View, ...], reason: Reason | None
) -> None:
    found = read(saved(radiograph_of(view=view)), ReadPolicy(views=views))
    if reason is None:
        assert isinstance(found, Radiograph)
        assert found.metadata.view == view
    else:
        assert found == Rejection(reason=reason)

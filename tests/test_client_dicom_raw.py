"""A raw detector picture is made into what the machine's own processing would show."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import FileDataset

from client.dicom.outcome import Flag, Outcome, Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection

Build = Callable[..., FileDataset]
Save = Callable[..., Path]


def read(path: Path, policy: ReadPolicy | None = None) -> Outcome:
    return read_file(path, image_size=64, policy=policy or ReadPolicy())


def difference(first: Outcome, second: Outcome) -> float:
    assert isinstance(first, Radiograph)
    assert isinstance(second, Radiograph)
    return float(np.abs(first.image / 65535 - second.image / 65535).mean())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [12, 16])
def test_linear_intensities_look_like_the_presentation(
    radiograph_of: Build, saved: Save, bits: int, photometric: str
) -> None:
    shown = read(saved(radiograph_of()))
    raw = radiograph_of(purpose="processing", bits=bits, photometric=photometric)
    found = read(saved(raw))
    assert difference(found, shown) < 0.04  # a detector's offset bends the logarithm a little
    assert isinstance(found, Radiograph)
    assert Flag.RAW in found.flags


def test_falling_intensities_look_like_rising_ones(radiograph_of: Build, saved: Save) -> None:
    rising = radiograph_of(purpose="processing")
    falling = radiograph_of(purpose="processing")
    falling.PixelData = (4095 - falling.pixel_array).astype("<u2").tobytes()
    path = saved(falling, PixelIntensityRelationshipSign=-1)
    assert difference(read(path), read(saved(rising))) < 0.002


@pytest.mark.parametrize(("photometric", "sign"), [("MONOCHROME2", -1), ("MONOCHROME1", 1)])
@pytest.mark.parametrize("stated", [True, False])
def test_logarithms_are_shown_as_they_are(
    radiograph_of: Build, saved: Save, photometric: str, sign: int, *, stated: bool
) -> None:
    raw = radiograph_of(photometric=photometric, values_of_interest="none")
    raw.PresentationIntentType = "FOR PROCESSING"
    raw.PixelIntensityRelationshipSign = sign
    if not stated:
        del raw.PixelIntensityRelationshipSign
    assert difference(read(saved(raw)), read(saved(radiograph_of()))) < 0.01


def test_filling_does_not_decide_the_brightness(radiograph_of: Build, saved: Save) -> None:
    raw = radiograph_of(purpose="processing")
    filled = radiograph_of(purpose="processing")
    pixels = filled.pixel_array.copy()
    pixels[:42, :42] = 0
    filled.PixelData = pixels.tobytes()
    filled.add_new("PixelPaddingValue", "US", 0)
    found, whole = read(saved(filled)), read(saved(raw))
    assert isinstance(found, Radiograph)
    assert isinstance(whole, Radiograph)
    assert not found.image[:24, :24].any()
    assert np.abs(found.image[32:] / 65535 - whole.image[32:] / 65535).mean() < 0.03


def test_a_hospital_may_refuse_raw_pictures(radiograph_of: Build, saved: Save) -> None:
    policy = ReadPolicy(for_processing=False)
    raw = read(saved(radiograph_of(purpose="processing")), policy)
    assert raw == Rejection(reason=Reason.RAW)
    assert isinstance(read(saved(radiograph_of()), policy), Radiograph)

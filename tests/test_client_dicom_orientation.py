"""A chest is laid upright as its tags say, and never mirrored."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import FileDataset

from client.dicom.outcome import Outcome, Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection

Build = Callable[..., FileDataset]
Save = Callable[..., Path]
Picture = NDArray[np.floating]
Lay = Callable[[Picture], Picture]

# How a chest lies in a file whose rows and columns run as these letters say.
LAID: dict[str, Lay] = {
    "LF": lambda chest: chest,
    "LH": lambda chest: chest[::-1],
    "RF": lambda chest: chest[:, ::-1],
    "RH": lambda chest: chest[::-1, ::-1],
    "FL": lambda chest: chest.T,
    "FR": lambda chest: chest.T[::-1],
    "HL": lambda chest: chest.T[:, ::-1],
    "HR": lambda chest: chest.T[::-1, ::-1],
}
NEEDS_A_MIRROR = {"RF", "FL", "HR"}


def read(path: Path) -> Outcome:
    return read_file(path, image_size=64, policy=ReadPolicy())


@pytest.mark.parametrize("letters", LAID)
def test_turned_frontal_chests_are_laid_upright_and_mirrored_ones_refused(
    radiograph_of: Build, saved: Save, chest: Picture, letters: str
) -> None:
    wide = chest[:, :72]  # so that a sideways chest has another shape
    upright = read(saved(radiograph_of(wide)))
    found = read(saved(radiograph_of(LAID[letters](wide)), PatientOrientation=list(letters)))
    if letters in NEEDS_A_MIRROR:
        assert found == Rejection(reason=Reason.MIRRORED)
    else:
        assert isinstance(upright, Radiograph)
        assert isinstance(found, Radiograph)
        np.testing.assert_array_equal(found.image, upright.image)


@pytest.mark.parametrize("letters", LAID)
@pytest.mark.parametrize("towards", ["A", "P"])
def test_lateral_chests_are_laid_with_the_head_up(
    radiograph_of: Build, saved: Save, chest: Picture, letters: str, towards: str
) -> None:
    away = {"A": "P", "P": "A"}[towards]
    lateral = [{"L": towards, "R": away}.get(letter, letter) for letter in letters]
    radiograph = radiograph_of(LAID[letters](chest), view="LATERAL")
    found = read(saved(radiograph, PatientOrientation=lateral))
    upright = read(saved(radiograph_of(chest)))
    assert isinstance(upright, Radiograph)
    assert isinstance(found, Radiograph)
    assert found.metadata.view == "LATERAL"
    either_side = [upright.image, upright.image[:, ::-1]]
    distances = [np.abs(found.image / 65535 - image / 65535).mean() for image in either_side]
    assert min(distances) < 1e-3  # seen from either side, which nothing tells


@pytest.mark.parametrize("letters", ["FR", "HL"])
def test_the_shape_of_pixels_turns_with_the_picture(
    radiograph_of: Build, saved: Save, chest: Picture, letters: str
) -> None:
    upright = read(saved(radiograph_of(), PixelSpacing=[0.2, 0.1]))
    sideways = radiograph_of(LAID[letters](chest))
    found = read(saved(sideways, PatientOrientation=list(letters), PixelSpacing=[0.1, 0.2]))
    assert isinstance(upright, Radiograph)
    assert isinstance(found, Radiograph)
    assert upright.image[:, :16].max() == 0
    np.testing.assert_array_equal(found.image, upright.image)


@pytest.mark.parametrize("nonsense", [["L"], ["L", "R"], ["L", "P"], ["X", "F"], ["", ""]])
def test_directions_that_cannot_be_are_not_believed(
    radiograph_of: Build, saved: Save, nonsense: list[str]
) -> None:
    upright = read(saved(radiograph_of()))
    found = read(saved(radiograph_of(), PatientOrientation=nonsense))
    assert isinstance(upright, Radiograph)
    assert isinstance(found, Radiograph)
    np.testing.assert_array_equal(found.image, upright.image)

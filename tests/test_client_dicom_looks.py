"""What the picture itself tells, and what a person is told to look at."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import FileDataset
from pydicom.uid import JPEGExtended12Bit

from client.dicom.looks import looks_lateral, looks_turned
from client.dicom.outcome import Flag, Outcome, Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection
from simulation.phantom import Phantom
from simulation.style import STYLES

Build = Callable[..., FileDataset]
Save = Callable[..., Path]
Picture = NDArray[np.uint16]
FRONTAL_ONLY = ReadPolicy(views=("PA", "AP", "OTHER"))
SAYS_NOTHING_OF_THE_VIEW: dict[str, object] = {
    "ViewPosition": "",
    "ViewCodeSequence": [],
    "PatientOrientation": "",
    "SeriesDescription": "CHEST",
}


@pytest.fixture(scope="module")
def chests() -> list[Picture]:
    """Twenty-four patients of every style, sick and healthy."""
    phantom = Phantom(64)
    studies = [
        (patient, style, findings)
        for patient in range(4)
        for style in STYLES.values()
        for findings in (set[str](), {"pleural_effusion", "cardiomegaly"})
    ]
    pictures = [
        phantom.render(
            findings=findings,
            patient_seed=patient,
            study_seed=1,
            sex="FM"[patient % 2],
            age=50,
            view="PA",
            style=style,
        )
        for patient, style, findings in studies
    ]
    return [np.rint(picture * 65535).astype(np.uint16) for picture in pictures]


def read(path: Path, policy: ReadPolicy | None = None, *, image_size: int = 64) -> Outcome:
    return read_file(path, image_size=image_size, policy=policy or ReadPolicy())


def flags_of(path: Path, *, image_size: int = 64) -> frozenset[Flag]:
    found = read(path, image_size=image_size)
    assert isinstance(found, Radiograph), found
    return found.flags


def half_white(chest: NDArray[np.floating]) -> NDArray[np.floating]:
    """As unlike its mirrored self as a lateral chest is: bright in front, dark behind."""
    return 0.3 * chest + 0.7 * np.linspace(0, 1, chest.shape[1])


def test_upright_chests_are_not_suspected(chests: list[Picture]) -> None:
    assert not any(looks_turned(chest) for chest in chests)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_chests_on_their_side_or_head_are_suspected(chests: list[Picture], turns: int) -> None:
    assert all(looks_turned(np.rot90(chest, turns)) for chest in chests)


def test_chests_flipped_upside_down_are_suspected(chests: list[Picture]) -> None:
    assert all(looks_turned(chest[::-1]) for chest in chests)


def test_frontal_chests_do_not_look_lateral_even_off_the_middle(chests: list[Picture]) -> None:
    assert not any(looks_lateral(chest) for chest in chests)
    assert not any(looks_lateral(chest[:, 6:]) for chest in chests)


def test_a_picture_of_unknown_view_is_looked_at_if_lateral_ones_are_not_wanted(
    radiograph_of: Build, saved: Save, chest: NDArray[np.floating]
) -> None:
    lateral = radiograph_of(half_white(chest))
    path = saved(lateral, **SAYS_NOTHING_OF_THE_VIEW)
    assert read(path, FRONTAL_ONLY) == Rejection(reason=Reason.LATERAL)
    assert isinstance(read(path), Radiograph)
    frontal = saved(radiograph_of(), **SAYS_NOTHING_OF_THE_VIEW)
    assert isinstance(read(frontal, FRONTAL_ONLY), Radiograph)


@pytest.mark.parametrize(
    "told", [{"ViewPosition": "PA"}, {"PatientOrientation": ["L", "F"]}], ids=["view", "rows"]
)
def test_what_the_header_tells_is_not_looked_at(
    radiograph_of: Build, saved: Save, chest: NDArray[np.floating], told: dict[str, object]
) -> None:
    path = saved(radiograph_of(half_white(chest)), **(SAYS_NOTHING_OF_THE_VIEW | told))
    assert isinstance(read(path, FRONTAL_ONLY), Radiograph)


def test_an_ordinary_radiograph_has_no_flag(radiograph_of: Build, saved: Save) -> None:
    assert flags_of(saved(radiograph_of())) == frozenset()


@pytest.mark.parametrize(
    ("elements", "flag"),
    [
        (SAYS_NOTHING_OF_THE_VIEW, Flag.NO_VIEW),
        ({"PatientID": ""}, Flag.NO_PATIENT),
        ({"LossyImageCompression": "01"}, Flag.LOSSY),
        ({"PresentationIntentType": "FOR PROCESSING"}, Flag.RAW),
        ({"WindowCenter": 2000, "WindowWidth": 400}, Flag.CLIPPED),
    ],
    ids=lambda value: value if isinstance(value, Flag) else "",
)
def test_headers_raise_flags(
    radiograph_of: Build, saved: Save, elements: dict[str, object], flag: Flag
) -> None:
    assert flags_of(saved(radiograph_of(), **elements)) == {flag}


def test_a_header_that_names_no_body_part_raises_a_flag(radiograph_of: Build, saved: Save) -> None:
    radiograph = radiograph_of(modality="CR")
    del radiograph.BodyPartExamined, radiograph.StudyDescription, radiograph.SeriesDescription
    assert flags_of(saved(radiograph)) == {Flag.NO_BODY_PART}


def test_pictures_raise_flags(
    radiograph_of: Build, saved: Save, chest: NDArray[np.floating]
) -> None:
    framed = np.zeros((120, 120))
    framed[12:108, 12:108] = chest
    assert flags_of(saved(radiograph_of()), image_size=128) == {Flag.LOW_RESOLUTION}
    assert flags_of(saved(radiograph_of(framed))) == {Flag.CROPPED}
    assert Flag.CROPPED in flags_of(saved(radiograph_of(chest[:, 24:72])))
    assert flags_of(saved(radiograph_of(), JPEGExtended12Bit)) == {Flag.LOSSY}
    assert flags_of(saved(radiograph_of(np.rot90(chest)))) == {Flag.SUSPECT_ORIENTATION}


def test_a_lateral_picture_is_not_expected_to_look_like_a_frontal_one(
    radiograph_of: Build, saved: Save, chest: NDArray[np.floating]
) -> None:
    assert flags_of(saved(radiograph_of(np.rot90(chest), view="LATERAL"))) == frozenset()

"""Any file at all is either read to one normalised picture or refused with a reason."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, dcmread
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.uid import (
    BasicTextSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    RLELossless,
)

from client.dicom.outcome import Outcome, Radiograph, Report
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection

Build = Callable[..., FileDataset]
Save = Callable[..., Path]
Picture = NDArray[np.floating]
SIZE = 64


def read(path: Path, policy: ReadPolicy | None = None) -> Outcome:
    return read_file(path, image_size=SIZE, policy=policy or ReadPolicy())


def picture_of(path: Path) -> Picture:
    found = read(path)
    assert isinstance(found, Radiograph), found
    return found.image.astype(np.float64) / 65535.0


def packaged(name: str) -> Path:
    """A real file that comes with pydicom-data."""
    path = get_testdata_file(name, download=False)
    if not isinstance(path, str):
        pytest.skip("pydicom-data is not installed")
    return Path(path)


def test_a_radiograph_becomes_a_picture_with_its_metadata(
    radiograph_of: Build, saved: Save
) -> None:
    found = read(saved(radiograph_of()))
    assert isinstance(found, Radiograph)
    assert found.image.shape == (SIZE, SIZE)
    assert found.image.dtype == np.uint16
    assert (found.image.min(), found.image.max()) == (0, 65535)
    assert (found.metadata.age, found.metadata.sex, found.metadata.view) == (60.0, "F", "PA")
    assert found.metadata.manufacturer == 1
    assert "SYN1" not in repr(found.identity)


def test_a_structured_report_is_handed_on(radiograph_of: Build, saved: Save) -> None:
    radiograph = radiograph_of()
    del radiograph.PixelData
    path = saved(radiograph, SOPClassUID=BasicTextSRStorage, Modality="SR")
    found = read(path)
    assert isinstance(found, Report)
    assert found.identity.study_uid == radiograph.StudyInstanceUID


def test_white_is_dense(radiograph_of: Build, saved: Save) -> None:
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        picture = picture_of(saved(radiograph_of(photometric=photometric)))
        abdomen, lung = picture[-6:, 20:44].mean(), picture[22:34, 16:22].mean()
        assert abdomen > lung + 0.3


def test_wide_pictures_are_centred_on_black(
    radiograph_of: Build, saved: Save, chest: Picture
) -> None:
    picture = picture_of(saved(radiograph_of(chest[:64])))
    assert picture[:8].max() == 0.0
    assert picture[-8:].max() == 0.0
    assert picture[20].max() > 0.5


def test_padding_is_black_and_does_not_count_for_the_contrast(
    radiograph_of: Build, saved: Save, chest: Picture
) -> None:
    bright = chest * 0.4 + 0.6  # black filling would stretch its contrast far less
    radiograph = radiograph_of(bright)
    pixels = radiograph.pixel_array.copy()
    pixels[:42, :42] = 4095
    radiograph.PixelData = pixels.tobytes()
    radiograph.PixelPaddingValue = 4095
    picture = picture_of(saved(radiograph))
    reference = picture_of(saved(radiograph_of(bright)))
    assert picture[:24, :24].max() == 0.0
    assert np.abs(picture - reference)[32:, 32:].mean() < 0.03


def test_a_border_of_the_collimator_is_cut(
    radiograph_of: Build, saved: Save, chest: Picture
) -> None:
    framed = np.zeros((116, 116))
    framed[10:106, 10:106] = chest
    reference = picture_of(saved(radiograph_of()))
    found = picture_of(saved(radiograph_of(framed)))
    assert np.abs(found - reference).mean() < 0.03


@pytest.mark.parametrize("factor", [5, 9])
def test_fine_grids_do_not_show_in_the_small_picture(
    radiograph_of: Build, saved: Save, chest: Picture, factor: int
) -> None:
    large = np.kron(chest, np.ones((factor, factor)))
    grid = np.indices(large.shape).sum(axis=0) % 2 * 0.2 - 0.1
    reference = picture_of(saved(radiograph_of(large * 0.8 + 0.1)))
    found = picture_of(saved(radiograph_of(large * 0.8 + 0.1 + grid)))
    assert np.abs(found - reference).max() < 0.05
    assert np.abs(reference - picture_of(saved(radiograph_of()))).mean() < 0.02


def test_a_real_radiograph_is_read_with_the_spine_bright() -> None:
    found = read(packaged("RG1_UNCR.dcm"))
    assert isinstance(found, Radiograph)
    assert (found.metadata.view, found.metadata.sex) == ("PA", "F")
    assert found.image[:, 28:36].mean() > found.image[:, 14:22].mean()
    assert found.flags == frozenset()


@pytest.mark.slow
def test_a_real_radiograph_is_the_same_in_jpeg_2000() -> None:
    plain, lossless, lossy = (
        read(packaged(f"RG1_{name}.dcm")) for name in ("UNCR", "J2KR", "J2KI")
    )
    assert isinstance(plain, Radiograph)
    assert isinstance(lossless, Radiograph)
    assert isinstance(lossy, Radiograph)
    np.testing.assert_array_equal(lossless.image, plain.image)
    assert lossless.pixel_digest == plain.pixel_digest
    assert np.abs(lossy.image / 65535 - plain.image / 65535).mean() < 0.002


def test_a_real_extremity_is_no_chest() -> None:
    assert read(packaged("RG3_UNCR.dcm")) == Rejection(reason=Reason.NOT_CHEST)


def test_a_real_cat_is_not_human() -> None:
    deid_data = pytest.importorskip("deid_data")
    cats = sorted(Path(deid_data.__file__).parent.rglob("cat.dcm"))
    assert [read(cat) for cat in cats] == [Rejection(reason=Reason.NOT_HUMAN)]


def test_names_in_other_scripts_do_no_harm() -> None:
    found = [read(Path(path)) for path in get_charset_files("chr*.dcm")]
    assert len(found) > 10
    assert all(isinstance(outcome, Radiograph | Rejection) for outcome in found)


def test_pydicoms_own_collection_of_oddities_never_makes_the_reader_raise() -> None:
    folder = Path(str(get_testdata_file("CT_small.dcm", download=False))).parent
    found = [read(path) for path in sorted(folder.glob("*.dcm"))]
    assert len(found) > 50
    assert not any(isinstance(outcome, Radiograph) for outcome in found)


def test_a_file_over_the_limit_is_refused_unread(radiograph_of: Build, saved: Save) -> None:
    policy = ReadPolicy(max_file_bytes=1000)
    assert read(saved(radiograph_of()), policy) == Rejection(reason=Reason.TOO_LARGE)


def test_things_that_are_no_dicom_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("not a picture " * 100)
    (tmp_path / "magic").write_bytes(bytes(128) + b"DICM")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("text")
    reasons = {entry.name: read(entry) for entry in tmp_path.iterdir()}
    assert reasons == {
        "empty": Rejection(reason=Reason.NOT_DICOM),
        "text": Rejection(reason=Reason.NOT_DICOM),
        "magic": Rejection(reason=Reason.WRONG_KIND),
        "pipe": Rejection(reason=Reason.NOT_DICOM),
        "link": Rejection(reason=Reason.UNREADABLE),
    }
    assert read(tmp_path / "missing") == Rejection(reason=Reason.UNREADABLE)


@pytest.mark.slow
def test_no_damage_makes_the_reader_raise_or_talk(
    radiograph_of: Build,
    saved: Save,
    chest: Picture,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    chance = np.random.default_rng(7)
    syntaxes = (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        RLELossless,
        JPEGLossless,
        JPEG2000Lossless,
    )
    originals = [saved(radiograph_of(chest[::2, ::2]), syntax) for syntax in syntaxes]
    path = originals[0].with_name("damaged")
    contents = [original.read_bytes() for original in originals]
    for number in range(600):
        content = bytearray(contents[number % len(contents)])
        for _ in range(chance.integers(1, 41)):
            content[chance.integers(128, min(len(content), 2400))] = chance.integers(256)
        path.write_bytes(content)
        assert isinstance(read(path), Radiograph | Report | Rejection)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_large_radiograph_is_read_in_little_memory(
    radiograph_of: Build, saved: Save, chest: Picture
) -> None:
    import tracemalloc

    large = np.kron(chest, np.ones((31, 31)))
    path = saved(radiograph_of(large))
    num_bytes = path.stat().st_size
    del large
    tracemalloc.start()
    assert isinstance(read_file(path, image_size=512, policy=ReadPolicy()), Radiograph)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_bytes > 17_000_000
    assert peak < 4 * num_bytes


def test_an_element_that_is_nonsense_is_like_one_that_is_missing(
    radiograph_of: Build, saved: Save
) -> None:
    path = saved(radiograph_of())
    content = path.read_bytes()
    age = content.index(b"060Y")
    path.write_bytes(content[:age] + b"\xff\xfe\x00Y" + content[age + 4 :])
    found = read(path)
    assert isinstance(found, Radiograph)
    assert found.metadata.age is None
    assert isinstance(dcmread(path), Dataset)

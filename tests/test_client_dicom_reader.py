"""Any file at all is either read to one normalised picture or refused with a reason."""

import logging
import os
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import FileDataset
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from client.dicom.outcome import Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection
from simulation.dicom_writer import (
    Machine,
    Modality,
    Photometric,
    Study,
    build_radiograph,
    write_radiograph,
)
from simulation.phantom import Phantom
from simulation.style import STYLES

POLICY = ReadPolicy()
SIZE = 64


Brightness = NDArray[np.floating]


@pytest.fixture(scope="module")
def brightness() -> Brightness:
    return Phantom(96).render(
        findings={"cardiomegaly"},
        patient_seed=1,
        study_seed=1,
        sex="F",
        age=60,
        view="PA",
        style=STYLES["plain"],
    )


def radiograph_of(
    brightness: Brightness,
    *,
    modality: Modality = "DX",
    bits: int = 12,
    photometric: Photometric = "MONOCHROME2",
    view: str = "PA",
) -> FileDataset:
    machine = Machine(
        modality=modality,
        manufacturer="AGFA",
        institution="SYN-A",
        bits=bits,
        photometric=photometric,
    )
    taken = datetime(2024, 1, 1, tzinfo=UTC)
    study = Study(patient_id="SYN1", number=1, sex="F", age=60, view=view, taken=taken)
    return build_radiograph(brightness, machine, study)


def read(path: Path, policy: ReadPolicy = POLICY) -> Radiograph | Rejection:
    return read_file(path, image_size=SIZE, policy=policy)


def picture_of(path: Path) -> Brightness:
    found = read(path)
    assert isinstance(found, Radiograph), found
    return found.image.astype(np.float64) / 65535.0


def save(folder: Path, radiograph: FileDataset, syntax: UID = ExplicitVRLittleEndian) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    write_radiograph(path, radiograph, transfer_syntax=syntax)
    return path


def test_a_radiograph_becomes_a_picture_with_its_metadata(
    tmp_path: Path, brightness: Brightness
) -> None:
    found = read(save(tmp_path, radiograph_of(brightness)))
    assert isinstance(found, Radiograph)
    assert found.image.shape == (SIZE, SIZE)
    assert found.image.dtype == np.uint16
    assert (found.image.min(), found.image.max()) == (0, 65535)
    assert (found.metadata.age, found.metadata.sex, found.metadata.view) == (60.0, "F", "PA")
    assert found.metadata.manufacturer == 1
    assert "SYN1" not in repr(found.identity)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("modality", "bits"), [("DX", 8), ("CR", 10), ("DX", 14), ("CR", 16)])
def test_the_same_chest_looks_the_same_from_every_machine(
    tmp_path: Path,
    brightness: Brightness,
    modality: Modality,
    bits: int,
    photometric: Photometric,
) -> None:
    reference = picture_of(save(tmp_path, radiograph_of(brightness)))
    other = radiograph_of(brightness, modality=modality, bits=bits, photometric=photometric)
    found = picture_of(save(tmp_path, other))
    assert np.abs(found - reference).mean() < 0.005  # one step of 8 bits is 0.004


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
    ],
)
def test_every_way_to_write_the_bytes_gives_the_same_picture(
    tmp_path: Path, brightness: Brightness, syntax: UID
) -> None:
    reference = read(save(tmp_path, radiograph_of(brightness)))
    found = read(save(tmp_path, radiograph_of(brightness), syntax))
    assert isinstance(reference, Radiograph)
    assert isinstance(found, Radiograph)
    np.testing.assert_array_equal(found.image, reference.image)
    assert found.pixel_digest == reference.pixel_digest


def test_white_is_dense(tmp_path: Path, brightness: Brightness) -> None:
    picture = picture_of(save(tmp_path, radiograph_of(brightness, photometric="MONOCHROME1")))
    abdomen, lung = picture[-6:, 20:44].mean(), picture[22:34, 16:22].mean()
    assert abdomen > lung + 0.3


def test_a_real_radiograph_is_read_with_the_spine_bright() -> None:
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    if not isinstance(path, str):
        pytest.skip("pydicom-data is not installed")
    found = read(Path(path))
    assert isinstance(found, Radiograph)
    assert (found.metadata.view, found.metadata.sex) == ("PA", "F")
    assert found.image[:, 28:36].mean() > found.image[:, 14:22].mean()


def test_a_picture_upside_down_is_turned(tmp_path: Path, brightness: Brightness) -> None:
    reference = picture_of(save(tmp_path, radiograph_of(brightness)))
    turned = radiograph_of(brightness[::-1])
    turned.PatientOrientation = ["L", "H"]
    np.testing.assert_allclose(picture_of(save(tmp_path, turned)), reference, atol=1e-3)


def test_wide_pictures_are_centred_on_black(tmp_path: Path, brightness: Brightness) -> None:
    picture = picture_of(save(tmp_path, radiograph_of(brightness[:64])))
    assert picture[:8].max() == 0.0
    assert picture[-8:].max() == 0.0
    assert picture[20].max() > 0.5


def test_padding_is_black_and_does_not_count_for_the_contrast(
    tmp_path: Path, brightness: Brightness
) -> None:
    radiograph = radiograph_of(brightness)
    pixels = radiograph.pixel_array.copy()
    pixels[:42, :42] = 4095
    radiograph.PixelData = pixels.tobytes()
    radiograph.PixelPaddingValue = 4095
    picture = picture_of(save(tmp_path, radiograph))
    reference = picture_of(save(tmp_path, radiograph_of(brightness)))
    assert picture[:24, :24].max() == 0.0
    assert np.abs(picture - reference)[32:, 32:].mean() < 0.03


def test_a_border_of_the_collimator_is_cut(tmp_path: Path, brightness: Brightness) -> None:
    framed = np.zeros((116, 116))
    framed[10:106, 10:106] = brightness
    reference = picture_of(save(tmp_path, radiograph_of(brightness)))
    found = picture_of(save(tmp_path, radiograph_of(framed)))
    assert np.abs(found - reference).mean() < 0.03


def test_lateral_views_are_kept_unless_the_policy_refuses_them(
    tmp_path: Path, brightness: Brightness
) -> None:
    path = save(tmp_path, radiograph_of(brightness, view="LATERAL"))
    found = read(path)
    assert isinstance(found, Radiograph)
    assert found.metadata.view == "LATERAL"
    assert read(path, ReadPolicy(views=("PA", "AP", "OTHER"))) == Rejection(reason=Reason.LATERAL)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, Reason.WRONG_KIND),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Reason.WRONG_KIND),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.WRONG_KIND),
        ({"PatientSpeciesDescription": "Feline"}, Reason.NOT_HUMAN),
        ({"QualityControlImage": "YES"}, Reason.CALIBRATION),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN),
        ({"BodyPartExamined": "ABDOMEN"}, Reason.NOT_CHEST),
        ({"PatientOrientation": ["R", "F"]}, Reason.MIRRORED),
        ({"NumberOfFrames": 2}, Reason.MULTI_FRAME),
        ({"Rows": 0}, Reason.BAD_GEOMETRY),
        ({"Rows": 60000, "Columns": 60000}, Reason.TOO_LARGE),
        ({"Rows": 97}, Reason.DECODE_FAILED),
        ({"BitsAllocated": 32}, Reason.DECODE_FAILED),
    ],
)
def test_what_is_no_chest_radiograph_is_refused_by_its_header(
    tmp_path: Path, brightness: Brightness, elements: dict[str, object], reason: Reason
) -> None:
    radiograph = radiograph_of(brightness)
    for keyword, value in elements.items():
        setattr(radiograph, keyword, value)
    path = tmp_path / "file"
    radiograph.save_as(path)
    assert read(path) == Rejection(reason=reason)


def test_a_file_without_pixels_or_without_contrast_is_refused(
    tmp_path: Path, brightness: Brightness
) -> None:
    flat = save(tmp_path, radiograph_of(np.full((64, 64), 0.5)))
    faint = save(tmp_path, radiograph_of(0.5 + 0.01 * brightness))
    without = radiograph_of(brightness)
    del without.PixelData
    assert read(flat) == Rejection(reason=Reason.BLANK)
    assert read(faint) == Rejection(reason=Reason.LOW_CONTRAST)
    assert read(save(tmp_path, without)) == Rejection(reason=Reason.NO_PIXELS)


def test_a_compression_without_decoder_is_refused(tmp_path: Path, brightness: Brightness) -> None:
    radiograph = radiograph_of(brightness)
    radiograph.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    radiograph["PixelData"].is_undefined_length = True
    radiograph.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    path = tmp_path / "file"
    radiograph.save_as(path)
    assert read(path) == Rejection(reason=Reason.NO_DECODER)


def test_run_lengths_that_unpack_to_far_too_much_are_refused(
    tmp_path: Path, brightness: Brightness
) -> None:
    radiograph = radiograph_of(brightness)
    segment = b"\x81\x00" * 50_000
    frame = np.array([2, 64, 64 + len(segment)] + [0] * 13, "<u4").tobytes() + 2 * segment
    radiograph.PixelData = encapsulate([frame])
    radiograph["PixelData"].is_undefined_length = True
    radiograph.file_meta.TransferSyntaxUID = RLELossless
    path = tmp_path / "file"
    radiograph.save_as(path)
    assert read(path) == Rejection(reason=Reason.TOO_LARGE)


def test_a_deflated_file_that_inflates_too_far_is_refused(
    tmp_path: Path, brightness: Brightness
) -> None:
    path = save(tmp_path, radiograph_of(brightness), DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    body = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    inflated = zlib.decompress(content[body:], -zlib.MAX_WBITS) + bytes(2**22)
    path.write_bytes(content[:body] + packer.compress(inflated) + packer.flush())
    policy = ReadPolicy(max_file_bytes=2**21)
    assert path.stat().st_size < policy.max_file_bytes
    assert read(path, policy) == Rejection(reason=Reason.TOO_LARGE)


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path, brightness: Brightness) -> None:
    path = save(tmp_path, radiograph_of(brightness))
    policy = ReadPolicy(max_file_bytes=1000)
    assert read(path, policy) == Rejection(reason=Reason.TOO_LARGE)


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


def test_a_cut_file_is_never_read_as_if_it_were_whole(
    tmp_path: Path, brightness: Brightness
) -> None:
    for syntax in (ExplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian):
        path = save(tmp_path, radiograph_of(brightness), syntax)
        content = path.read_bytes()
        for share in (0.05, 0.3, 0.6, 0.9):
            path.write_bytes(content[: int(len(content) * share)])
            assert isinstance(read(path), Rejection)


@pytest.mark.slow
def test_no_damage_makes_the_reader_raise_or_talk(
    tmp_path: Path,
    brightness: Brightness,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    chance = np.random.default_rng(7)
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless)
    originals = [save(tmp_path, radiograph_of(brightness[::2, ::2]), s) for s in syntaxes]
    path = tmp_path / "damaged"
    for number in range(600):
        content = bytearray(originals[number % len(originals)].read_bytes())
        for _ in range(chance.integers(1, 41)):
            content[chance.integers(128, min(len(content), 2400))] = chance.integers(256)
        path.write_bytes(content)
        assert isinstance(read(path), Radiograph | Rejection)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_pydicoms_own_collection_of_oddities_never_makes_the_reader_raise() -> None:
    folder = Path(str(get_testdata_file("CT_small.dcm", download=False))).parent
    found = [read(path) for path in sorted(folder.glob("*.dcm"))]
    assert len(found) > 50
    assert all(isinstance(outcome, Rejection) for outcome in found)

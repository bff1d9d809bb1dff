"""Written files are valid, and hold what a machine of that kind would write."""

import hashlib
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import FileDataset, dcmread
from pydicom.uid import (
    JPEG2000,
    MPEG4HP41,
    UID,
    ExplicitVRBigEndian,
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

from simulation.dicom_writer import (
    Machine,
    Study,
    build_radiograph,
    study_uid,
    uid_of,
    write_radiograph,
)

DEFAULT_FILE = "f8b43af10f15251a98dfa0a780bc8213164443ec9b95f481c3d4c94302bec8f8"
"""SHA-256 of a file of version 0.1.0: demos and their caches must stay what they were."""

RAMP = np.tile(np.linspace(0.0, 1.0, 64, dtype=np.float32), (48, 1))
STUDY = Study(
    patient_id="SYN1",
    number=2,
    sex="F",
    age=64,
    view="AP",
    taken=datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC),
)
KINDS: list[dict[str, Any]] = [
    {"modality": "DX", "bits": 8},
    {"modality": "DX", "bits": 12, "photometric": "MONOCHROME1", "values_of_interest": "sigmoid"},
    {"modality": "DX", "bits": 14, "values_of_interest": "table"},
    {"modality": "DX", "bits": 14, "purpose": "processing"},
    {"modality": "CR", "bits": 10, "photometric": "MONOCHROME1", "values_of_interest": "table"},
    {"modality": "CR", "bits": 16, "values_of_interest": "none"},
    {"modality": "CR", "bits": 12, "signed": True},
    {"modality": "CR", "bits": 8, "purpose": "capture"},
]
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
]
"""Those that dciodvfy can read: it knows neither deflated files nor high-throughput JPEG 2000."""


def built(**choices: Any) -> FileDataset:  # noqa: ANN401
    usual: dict[str, Any] = {"modality": "DX", "bits": 12, "photometric": "MONOCHROME2"}
    machine = Machine(manufacturer="AGFA", institution="SYN-A", **(usual | choices))
    return build_radiograph(RAMP, machine, STUDY)


def complaints_about(path: Path) -> list[str]:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy of dicom3tools is not installed")
    said = subprocess.run([validator, "-new", path], capture_output=True, text=True, check=False)
    return [line for line in said.stderr.splitlines() if line.startswith(("Err", "Warn"))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_passes_the_validator(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = tmp_path / "file.dcm"
    write_radiograph(path, built(**kind))
    assert complaints_about(path) == []


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_compression_passes_the_validator(tmp_path: Path, syntax: UID) -> None:
    path = tmp_path / "file.dcm"
    radiograph = built(bits=8 if syntax == JPEGBaseline8Bit else 12)
    write_radiograph(path, radiograph, transfer_syntax=syntax)
    assert complaints_about(path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_fill_the_declared_bits_and_run_the_declared_way(
    tmp_path: Path, kind: dict[str, Any]
) -> None:
    path = tmp_path / "file.dcm"
    write_radiograph(path, built(**kind))
    written = dcmread(path)
    pixels = written.pixel_array.astype(np.int64)
    assert written.BitsStored == kind["bits"]
    assert 0.9 * 2 ** kind["bits"] < np.ptp(pixels) < 2 ** kind["bits"]
    assert (pixels.min() < 0) == kind.get("signed", False)
    rising = pixels[0, -1] > pixels[0, 0]
    inverted = kind.get("photometric") == "MONOCHROME1" or kind.get("purpose") == "processing"
    assert rising != inverted


def test_a_default_file_never_changes(tmp_path: Path) -> None:
    path = tmp_path / "file.dcm"
    write_radiograph(path, built())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == DEFAULT_FILE


def test_what_nobody_can_compress_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="transfer syntax"):
        write_radiograph(tmp_path / "film", built(), transfer_syntax=MPEG4HP41)


@pytest.mark.parametrize(
    "impossible",
    [{"bits": 17}, {"modality": "CR", "purpose": "processing"}, {"modality": "DX", "signed": True}],
)
def test_a_machine_that_cannot_be_is_refused(impossible: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"8 to 16|only DX|never signed"):
        built(**impossible)


def test_identifiers_are_synthetic_and_follow_from_the_study() -> None:
    first, second = built(), built()
    assert first.SOPInstanceUID == second.SOPInstanceUID
    machine = Machine(
        modality="DX", manufacturer="A", institution="SYN-A", bits=12, photometric="MONOCHROME2"
    )
    assert first.StudyInstanceUID == study_uid(machine, STUDY)
    assert str(first.PatientName).startswith("Synthetic^SYN")
    assert uid_of("a", 1) != uid_of("a", 2)

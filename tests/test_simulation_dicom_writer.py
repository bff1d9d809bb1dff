"""Written files are valid, and hold what a machine of that kind would write."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import FileDataset, dcmread

from simulation.dicom_writer import (
    Machine,
    Modality,
    Photometric,
    Study,
    ValuesOfInterest,
    build_radiograph,
    study_uid,
    uid_of,
    write_radiograph,
)

RAMP = np.tile(np.linspace(0.0, 1.0, 64, dtype=np.float32), (48, 1))
STUDY = Study(
    patient_id="SYN1",
    number=2,
    sex="F",
    age=64,
    view="AP",
    taken=datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC),
)
KINDS: list[tuple[Modality, int, Photometric, ValuesOfInterest]] = [
    ("DX", 8, "MONOCHROME2", "window"),
    ("DX", 12, "MONOCHROME1", "sigmoid"),
    ("DX", 14, "MONOCHROME2", "table"),
    ("CR", 10, "MONOCHROME1", "table"),
    ("CR", 16, "MONOCHROME2", "none"),
]


def built(
    modality: Modality = "DX",
    bits: int = 12,
    photometric: Photometric = "MONOCHROME2",
    values_of_interest: ValuesOfInterest = "window",
) -> FileDataset:
    machine = Machine(
        modality=modality,
        manufacturer="AGFA",
        institution="SYN-A",
        bits=bits,
        photometric=photometric,
        values_of_interest=values_of_interest,
    )
    return build_radiograph(RAMP, machine, STUDY)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_passes_the_validator(
    tmp_path: Path, kind: tuple[Modality, int, Photometric, ValuesOfInterest]
) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy of dicom3tools is not installed")
    path = tmp_path / "file.dcm"
    write_radiograph(path, built(*kind))
    said = subprocess.run([validator, "-new", path], capture_output=True, text=True, check=False)
    complaints = [line for line in said.stderr.splitlines() if line.startswith(("Err", "Warn"))]
    assert complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_fill_the_declared_bits_and_run_the_declared_way(
    tmp_path: Path, kind: tuple[Modality, int, Photometric, ValuesOfInterest]
) -> None:
    path = tmp_path / "file.dcm"
    write_radiograph(path, built(*kind))
    written = dcmread(path)
    pixels = written.pixel_array.astype(np.int64)
    assert written.BitsStored == kind[1]
    assert 0.9 * 2 ** kind[1] < pixels.max() < 2 ** kind[1]
    rising = pixels[0, -1] > pixels[0, 0]
    assert rising == (kind[2] == "MONOCHROME2")


def test_identifiers_are_synthetic_and_follow_from_the_study() -> None:
    first, second = built(), built()
    assert first.SOPInstanceUID == second.SOPInstanceUID
    machine = Machine(
        modality="DX", manufacturer="A", institution="SYN-A", bits=12, photometric="MONOCHROME2"
    )
    assert first.StudyInstanceUID == study_uid(machine, STUDY)
    assert str(first.PatientName).startswith("Synthetic^SYN")
    assert uid_of("a", 1) != uid_of("a", 2)


def test_a_machine_with_impossible_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="8 to 16"):
        built(bits=17)

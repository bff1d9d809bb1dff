"""Whole files of every kind that the reader must cope with, as bytes: material for damage."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom.config
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    ComputedRadiographyImageStorage,
)

from client.dicom.header import DAMAGED_FILE_ERRORS
from simulation.dicom_writer import Machine, Study, build_radiograph, write_radiograph
from simulation.phantom import Phantom
from simulation.style import STYLES

MAX_BYTES = 200_000
"""Larger test files are left out: damage is found faster in small ones."""
_SIDE = 64
_REAL = "RG1_UNCR.dcm"
_SHRINK = 24
_DX = Machine(
    modality="DX", manufacturer="AGFA", institution="SYN-A", bits=12, photometric="MONOCHROME2"
)
_MACHINES = (
    _DX,
    replace(_DX, modality="CR", bits=8, photometric="MONOCHROME1", values_of_interest="table"),
    replace(_DX, bits=16, photometric="MONOCHROME1", values_of_interest="sigmoid"),
    replace(_DX, bits=14, purpose="processing"),
    replace(_DX, modality="CR", bits=10, signed=True, purpose="capture"),
)


def originals() -> list[bytes]:
    """Phantoms in every transfer syntax that can be written, a real radiograph, and pydicom's test files.

    Test files with pictures come in the guise of radiographs, since the reader looks at the pixels of
    nothing else.
    """
    folder = Path(str(get_testdata_file("CT_small.dcm", download=False))).parent
    contents = (path.read_bytes() for path in sorted(folder.glob("*.dcm")))
    small = (content for content in contents if len(content) <= MAX_BYTES)
    return [*_phantoms(), *_real_radiograph(), *map(_in_the_guise_of_a_radiograph, small)]


def _phantoms() -> Iterator[bytes]:
    brightness = Phantom(_SIDE).render(
        findings={"cardiomegaly"},
        patient_seed=1,
        study_seed=1,
        sex="F",
        age=60,
        view="PA",
        style=STYLES["plain"],
    )
    taken = datetime(2024, 1, 1, tzinfo=UTC)
    study = Study(patient_id="SYN1", number=1, sex="F", age=60, view="PA", taken=taken)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "phantom"
        for machine in _MACHINES:
            for syntax in AllTransferSyntaxes:
                if _is_written(path, build_radiograph(brightness, machine, study), syntax):
                    yield path.read_bytes()


def _is_written(path: Path, radiograph: FileDataset, syntax: UID) -> bool:
    try:
        write_radiograph(path, radiograph, transfer_syntax=syntax)
    except (RuntimeError, ValueError):  # no encoder, or none for so many bits
        return False
    return True


def _real_radiograph() -> Iterator[bytes]:
    """A real header with a small picture, where the package that brings it is installed."""
    path = get_testdata_file(_REAL, download=False)
    if not isinstance(path, str):
        return
    radiograph = dcmread(path)
    pixels = radiograph.pixel_array[::_SHRINK, ::_SHRINK]
    radiograph.Rows, radiograph.Columns = pixels.shape
    radiograph.PixelData = pixels.tobytes()
    yield _written(radiograph)


def _in_the_guise_of_a_radiograph(content: bytes) -> bytes:
    """The same picture as that of a chest, if there is one and the file can be edited."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = dcmread(BytesIO(content))
            if "PixelData" not in file:
                return content
            file.SOPClassUID = ComputedRadiographyImageStorage
            file.Modality, file.BodyPartExamined, file.ViewPosition = "CR", "CHEST", "PA"
            for keyword in ("PatientOrientation", "StudyDescription", "SeriesDescription"):
                file.pop(keyword, None)
            return _written(file)
        except DAMAGED_FILE_ERRORS:  # it is broken already
            return content


def _written(file: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()

"""A rendered picture -> a valid DX, CR or SC file, the way real machines write theirs.

The attributes follow the modules that PS3.3 demands of each kind; `dciodvfy` of dicom3tools finds neither
errors nor warnings. Every identifier begins with SYN or is derived from a hash.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from simulation.dicom_encoder import compress

Modality = Literal["CR", "DX"]
Photometric = Literal["MONOCHROME1", "MONOCHROME2"]
ValuesOfInterest = Literal["window", "sigmoid", "table", "none"]
Purpose = Literal["presentation", "processing", "capture"]
Stored = NDArray[np.uint16] | NDArray[np.int16]

_HEAD_ROOM = 0.02
_PIXEL_SPACING_MM = 0.168
_DENSEST = 3.0
"""Optical depth of the brightest pixel of a raw picture: one X-ray in 20 passes."""
_VIEW_CODES = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LATERAL": ("399067008", "lateral"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a hospital's X-ray machine writes into every file."""

    modality: Modality
    manufacturer: str
    institution: str
    bits: int
    """Bits stored per pixel, 8 to 16."""
    photometric: Photometric
    values_of_interest: ValuesOfInterest = "window"
    purpose: Purpose = "presentation"
    """Pictures to look at, raw ones of a DX detector, or ones captured a second time."""
    signed: bool = False
    """Whether stored values are centred on zero."""

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 16:
            raise ValueError(f"bits is {self.bits}, machines store 8 to 16")
        if self.purpose == "processing" and self.modality != "DX":
            raise ValueError("only DX machines write pictures for processing")
        if self.signed and self.purpose != "capture" and self.modality == "DX":
            raise ValueError("DX pictures are never signed")

    @property
    def kind(self) -> UID:
        """SOP class of its files."""
        if self.purpose == "capture":
            return SecondaryCaptureImageStorage
        if self.modality == "CR":
            return ComputedRadiographyImageStorage
        return (
            DigitalXRayImageStorageForPresentation
            if self.purpose == "presentation"
            else DigitalXRayImageStorageForProcessing
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One examination of one synthetic patient."""

    patient_id: str
    number: int
    """1 for the patient's first study."""
    sex: str
    age: int
    """Years."""
    view: str
    """PA, AP or LATERAL."""
    taken: datetime
    body_part: str = "CHEST"


def uid_of(*parts: str | int) -> UID:
    """A unique identifier under the root of hashed UUIDs, the same for the same parts."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def study_uid(machine: Machine, study: Study) -> UID:
    """Study instance UID, as the labels name it."""
    return uid_of("study", machine.institution, study.patient_id, study.number)


def build_radiograph(
    brightness: NDArray[np.floating], machine: Machine, study: Study
) -> FileDataset:
    """Compose a whole file.

    Args:
        brightness: (row, column) in [0, 1], white is dense.
        machine: the writer.
        study: the examination.
    """
    radiograph = _empty_file(machine, study)
    _add_patient_and_study(radiograph, machine, study)
    _add_equipment_and_view(radiograph, machine, study)
    _add_pixels(radiograph, _stored_values(brightness, machine), machine)
    _add_values_of_interest(radiograph, machine)
    _MODULES[machine.kind](radiograph, machine, study)
    return radiograph


def write_radiograph(
    path: Path, radiograph: FileDataset, *, transfer_syntax: UID = ExplicitVRLittleEndian
) -> None:
    """Write a composed file in any transfer syntax that pydicom can write or imagecodecs can compress."""
    if transfer_syntax.is_encapsulated:
        compress(radiograph, transfer_syntax)
    if transfer_syntax == ExplicitVRBigEndian and radiograph.BitsAllocated == 16:
        radiograph.PixelData = radiograph.pixel_array.astype(">u2").tobytes()
    radiograph.file_meta.TransferSyntaxUID = transfer_syntax
    dcmwrite(path, radiograph, enforce_file_format=True)


def _empty_file(machine: Machine, study: Study) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = machine.kind
    meta.MediaStorageSOPInstanceUID = uid_of("instance", study_uid(machine, study), study.view)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid_of("implementation")
    meta.ImplementationVersionName = "SYNTHETIC_1"
    radiograph = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    radiograph.SpecificCharacterSet = "ISO_IR 192"
    radiograph.SOPClassUID = machine.kind
    radiograph.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    return radiograph


def _add_patient_and_study(radiograph: Dataset, machine: Machine, study: Study) -> None:
    radiograph.PatientName = f"Synthetic^{study.patient_id}"
    radiograph.PatientID = study.patient_id
    radiograph.PatientBirthDate = ""
    radiograph.PatientSex = study.sex
    radiograph.PatientAge = f"{study.age:03d}Y"
    radiograph.StudyInstanceUID = study_uid(machine, study)
    radiograph.SeriesInstanceUID = uid_of("series", study_uid(machine, study))
    radiograph.StudyID = str(study.number)
    radiograph.SeriesNumber = radiograph.InstanceNumber = 1
    radiograph.AccessionNumber = f"SYN{study.number:06d}"
    radiograph.ReferringPhysicianName = ""
    radiograph.StudyDescription = f"XR {study.body_part}"
    radiograph.SeriesDescription = f"{study.body_part} {study.view}"
    for moment in ("Study", "Series", "Acquisition", "Content"):
        setattr(radiograph, f"{moment}Date", study.taken.strftime("%Y%m%d"))
        setattr(radiograph, f"{moment}Time", study.taken.strftime("%H%M%S"))


def _add_equipment_and_view(radiograph: Dataset, machine: Machine, study: Study) -> None:
    radiograph.Modality = machine.modality
    radiograph.Manufacturer = machine.manufacturer
    radiograph.InstitutionName = machine.institution
    radiograph.ManufacturerModelName = "SYNTHETIC PHANTOM"
    radiograph.DeviceSerialNumber = "SYN1"
    radiograph.SoftwareVersions = "1"
    radiograph.ImageType = ["ORIGINAL", "PRIMARY", ""]
    radiograph.BodyPartExamined = study.body_part
    radiograph.ViewPosition = "LL" if study.view == "LATERAL" else study.view
    radiograph.PatientOrientation = ["A" if study.view == "LATERAL" else "L", "F"]
    radiograph.ImagerPixelSpacing = [_PIXEL_SPACING_MM, _PIXEL_SPACING_MM]
    radiograph.BurnedInAnnotation = "NO"
    radiograph.LossyImageCompression = "00"


def _stored_values(brightness: NDArray[np.floating], machine: Machine) -> Stored:
    """Brightness as the machine's integers, with some room left at both ends."""
    largest = 2**machine.bits - 1
    shown = np.clip(brightness, 0.0, 1.0)
    if machine.purpose == "processing":  # X-rays that pass, in proportion: few where it is dense
        shown = np.exp(-_DENSEST * shown)
    share = _HEAD_ROOM + (1.0 - 2.0 * _HEAD_ROOM) * shown
    values: NDArray[np.uint16] = np.rint(share * largest).astype(np.uint16)
    if machine.photometric == "MONOCHROME1" and machine.purpose != "processing":
        values = np.asarray(largest - values)
    if not machine.signed:
        return values
    return np.asarray(values.astype(np.int32) - _offset(machine), np.int16)


def _offset(machine: Machine) -> int:
    return 2 ** (machine.bits - 1) if machine.signed else 0


_WRITTEN = {(True, False): "u1", (True, True): "i1", (False, False): "<u2", (False, True): "<i2"}


def _add_pixels(radiograph: Dataset, values: Stored, machine: Machine) -> None:
    radiograph.SamplesPerPixel = 1
    radiograph.PhotometricInterpretation = machine.photometric
    radiograph.Rows, radiograph.Columns = values.shape
    radiograph.BitsAllocated = 8 if machine.bits == 8 else 16
    radiograph.BitsStored = machine.bits
    radiograph.HighBit = machine.bits - 1
    radiograph.PixelRepresentation = int(machine.signed)
    content = values.astype(_WRITTEN[machine.bits == 8, machine.signed]).tobytes()
    radiograph.PixelData = content + b"\0" * (len(content) % 2)
    radiograph["PixelData"].VR = "OB" if machine.bits == 8 else "OW"


def _add_values_of_interest(radiograph: Dataset, machine: Machine) -> None:
    largest = 2**machine.bits - 1
    radiograph.RescaleIntercept, radiograph.RescaleSlope, radiograph.RescaleType = 0, 1, "US"
    if machine.values_of_interest == "table":
        radiograph.VOILUTSequence = Sequence([_sigmoid_table(largest)])
    elif machine.values_of_interest != "none" and machine.purpose != "processing":
        radiograph.WindowCenter = largest / 2 - _offset(machine)
        radiograph.WindowWidth = largest
        radiograph.WindowCenterWidthExplanation = "NORMAL"
    if machine.values_of_interest == "sigmoid":
        radiograph.WindowWidth = largest / 2
        radiograph.VOILUTFunction = "SIGMOID"


def _sigmoid_table(largest: int) -> Dataset:
    steps = np.arange(largest + 1) / largest
    entries = np.rint(65535 / (1 + np.exp(-8 * (steps - 0.5)))).astype("<u2")
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [(largest + 1) % 65536, 0, 16])
    table.LUTExplanation = "SYNTHETIC"
    table.add_new("LUTData", "OW", entries.tobytes())
    return table


def _add_dx_modules(radiograph: Dataset, machine: Machine, study: Study) -> None:
    inverse = machine.photometric == "MONOCHROME1"
    radiograph.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    radiograph.PresentationIntentType = "FOR PRESENTATION"
    radiograph.PixelIntensityRelationship = "LOG"
    radiograph.PixelIntensityRelationshipSign = 1 if inverse else -1
    radiograph.ImageLaterality = "L" if study.view == "LATERAL" else "U"
    radiograph.AnatomicRegionSequence = Sequence([_code("51185008", "Chest")])
    radiograph.ViewCodeSequence = Sequence([_code(*_VIEW_CODES[study.view])])
    radiograph.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence([])
    radiograph.AcquisitionContextSequence = Sequence([])
    radiograph.DetectorType = "SCINTILLATOR"
    radiograph.DetectorActiveDimensions = [350, 430]
    radiograph.PositionerType = "NONE"


def _add_raw_dx_modules(radiograph: Dataset, machine: Machine, study: Study) -> None:
    _add_dx_modules(radiograph, machine, study)
    radiograph.PresentationIntentType = "FOR PROCESSING"
    radiograph.PixelIntensityRelationship = "LIN"
    radiograph.PixelIntensityRelationshipSign = 1


def _add_cr_modules(radiograph: Dataset, _: Machine, __: Study) -> None:
    radiograph.PlateType = ""
    radiograph.CassetteOrientation = "PORTRAIT"


def _add_capture_modules(radiograph: Dataset, _: Machine, __: Study) -> None:
    radiograph.ConversionType = "DI"
    radiograph.ImageType = ["DERIVED", "SECONDARY", ""]
    del radiograph.ImagerPixelSpacing, radiograph.ViewPosition


_MODULES: Mapping[UID, Callable[[Dataset, Machine, Study], None]] = {
    DigitalXRayImageStorageForPresentation: _add_dx_modules,
    DigitalXRayImageStorageForProcessing: _add_raw_dx_modules,
    ComputedRadiographyImageStorage: _add_cr_modules,
    SecondaryCaptureImageStorage: _add_capture_modules,
}


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code

"""A synthetic picture as a DICOM file that says so wherever the standard has a place for it.

Secondary Capture (PS3.3 A.8.1) or Digital X-Ray for presentation (A.26), always DERIVED and
SECONDARY, with Synthetic Data (0008,001C) YES and the program as Synthesizing Equipment (C.12.1). No
clock and no chance: the same picture with the same provenance gives the same bytes and identifiers.
"""

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from model.arrays import replacing
from synthesis.generation.provenance import PROGRAM, Provenance, digest_of

Kind = Literal["sc", "dx"]
Picture = NDArray[np.floating]
Stored = NDArray[np.uint16]

PRIVATE_GROUP, PRIVATE_CREATOR = 0x0099, "FEDCXR PROVENANCE"
PRIVATE_ELEMENT = 0x01
"""Element of the private block that holds the whole provenance as JSON."""
FIELD_MM = 430.0
"""Side of a common chest detector: what a square picture is taken to cover where DX demands a size."""
MAX_DESCRIPTION = 1024
"""Characters of a short text (PS3.5 6.2)."""
_LARGEST = 65535
_CLASSES = {"sc": SecondaryCaptureImageStorage, "dx": DigitalXRayImageStorageForPresentation}
_VIEW_CODES = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LATERAL": ("399067008", "lateral"),
}
_CHEST = ("816094009", "SCT", "Chest")
_SYNTHESIZING_EQUIPMENT = ("109100", "DCM", "Synthesizing Equipment")
_SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")


class NoView(ValueError):
    """A DX file of a picture whose view nobody stated."""

    def __init__(self) -> None:
        super().__init__(
            f"a DX file has to state its view: ask for one of {', '.join(_VIEW_CODES)}, "
            "or write a Secondary Capture file"
        )


def write_dicom(
    path: Path,
    picture: Picture,
    provenance: Provenance,
    *,
    source: Dataset | None = None,
    kind: Kind = "sc",
) -> None:
    """Write a picture as a whole file, atomically.

    Args:
        path: where the file shall be; its folder exists.
        picture: (row, column) in [-1, 1], white is dense; values outside are clipped.
        provenance: how it came about; sex, age and view are those of its condition.
        source: a real radiograph that an edited picture may name as its source. Only its class and its
            instance UID are copied: they lead back to the patient, so this is the hospital's choice.
        kind: Secondary Capture or DX for presentation.

    Raises:
        NoView: DX, and the condition states no view that DX can name.
    """
    content = dicom_bytes(picture, provenance, source=source, kind=kind)
    with replacing(path) as partial:
        partial.write_bytes(content)


def dicom_bytes(
    picture: Picture, provenance: Provenance, *, source: Dataset | None = None, kind: Kind = "sc"
) -> bytes:
    """The file that ``write_dicom`` writes."""
    check_kind(kind, provenance)
    stored = stored_values(picture)
    file = _new_file(stored, provenance, kind)
    _add_patient(file, provenance)
    _add_origin(file, provenance)
    _add_picture(file, stored, provenance)
    if kind == "dx":
        _add_dx_modules(file, provenance)
    else:
        file.ConversionType = "SYN"
    if source is not None:
        file.SourceImageSequence = Sequence([_reference(source)])
    buffer = BytesIO()
    dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()


def check_kind(kind: Kind, provenance: Provenance) -> None:
    """Refuse DX for a picture whose view is open.

    Raises:
        NoView: with what to do.
    """
    if kind == "dx" and provenance.condition.get("view") not in _VIEW_CODES:
        raise NoView


def read_provenance(header: Dataset) -> str | None:
    """The provenance in a header that this program wrote, as JSON; None in any other."""
    try:
        block = header.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)
        return str(block[PRIVATE_ELEMENT].value)
    except KeyError:
        return None


def study_uid(stored: Stored, provenance: Provenance) -> UID:
    """What identifies a picture, in whatever format it is kept: study instance UID of its DICOM files."""
    return _uid(_seed(stored, provenance), "study")


def stored_values(picture: Picture) -> Stored:
    """Brightness in [-1, 1] as 16-bit integers, 0 black, 65535 white."""
    share = (np.clip(picture, -1.0, 1.0).astype(np.float64) + 1.0) / 2.0
    values: Stored = np.rint(share * _LARGEST).astype(np.uint16)
    return values


def _new_file(stored: Stored, provenance: Provenance, kind: Kind) -> FileDataset:
    """A file with its identifiers: they follow from the picture and its provenance alone."""
    seed = _seed(stored, provenance)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _CLASSES[kind]
    meta.MediaStorageSOPInstanceUID = _uid(seed, f"instance {kind}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid(b"", "implementation")
    meta.ImplementationVersionName = f"{PROGRAM}_{provenance.program_version}"[:16]
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SpecificCharacterSet = "ISO_IR 192"
    file.SOPClassUID = meta.MediaStorageSOPClassUID
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID = _uid(seed, "study")
    file.SeriesInstanceUID = _uid(seed, f"series {kind}")
    file.PatientID = f"SYN{seed.hex()[:16].upper()}"
    return file


def _add_patient(file: Dataset, provenance: Provenance) -> None:
    """Nobody: a patient and a study that exist in this file only."""
    condition = provenance.condition
    file.PatientName = f"SYNTHETIC^{provenance.kind.upper()}"
    file.PatientBirthDate = ""
    file.PatientSex = condition.get("sex", "")
    if "age" in condition:
        file.PatientAge = _age_string(float(condition["age"]))
    if "race" in condition:
        file.EthnicGroup = condition["race"].upper()
    if provenance.kind == "edited":  # the pixels are still a real person's, and nothing else is
        file.PatientIdentityRemoved = "YES"
        file.DeidentificationMethod = "No element of the source's header was copied"
    for keyword in ("StudyDate", "StudyTime", "ReferringPhysicianName", "AccessionNumber"):
        setattr(file, keyword, "")
    file.StudyID = "SYNTHETIC"
    file.StudyDescription = "SYNTHETIC chest radiograph"
    file.SeriesNumber = file.InstanceNumber = 1
    file.SeriesDescription = f"SYNTHETIC, {provenance.kind}"


def _add_origin(file: Dataset, provenance: Provenance) -> None:
    """Everything that says that this was made by a model, and by which."""
    file.ImageType = ["DERIVED", "SECONDARY", "", "SYNTHETIC"]
    file.SyntheticData = "YES"
    file.ContentQualification = "RESEARCH"
    file.DerivationDescription = provenance.sentence()[:MAX_DESCRIPTION]
    _add_equipment(file, provenance)
    maker = Dataset()
    _add_equipment(maker, provenance)
    maker.ContributionDescription = provenance.sentence()[:MAX_DESCRIPTION]
    maker.PurposeOfReferenceCodeSequence = Sequence([_code(*_SYNTHESIZING_EQUIPMENT)])
    file.ContributingEquipmentSequence = Sequence([maker])
    block = file.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(PRIVATE_ELEMENT, "UT", provenance.text())


def _add_equipment(item: Dataset, provenance: Provenance) -> None:
    item.Manufacturer = PROGRAM
    item.InstitutionName = "SYNTHETIC"
    item.ManufacturerModelName = "SYNTHETIC"
    item.DeviceSerialNumber = provenance.adapter_digest or provenance.model_digest
    item.SoftwareVersions = provenance.program_version


def _add_picture(file: Dataset, stored: Stored, provenance: Provenance) -> None:
    """Pixels, how to show them, and what they show."""
    view = provenance.condition.get("view")
    file.Modality = "DX"
    file.BodyPartExamined = "CHEST"
    if view in _VIEW_CODES:
        file.PatientOrientation = ["A" if view == "LATERAL" else "L", "F"]
        file.ViewPosition = "LL" if view == "LATERAL" else view
    else:
        file.PatientOrientation = ""
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.Rows, file.Columns = stored.shape
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    file.RescaleIntercept, file.RescaleSlope, file.RescaleType = 0, 1, "US"
    file.WindowCenter, file.WindowWidth = (_LARGEST + 1) / 2, _LARGEST + 1
    file.PresentationLUTShape = "IDENTITY"
    file.BurnedInAnnotation = file.RecognizableVisualFeatures = "NO"
    file.LossyImageCompression = "00"
    file.PixelData = stored.astype("<u2").tobytes()
    file["PixelData"].VR = "OW"


def _add_dx_modules(file: Dataset, provenance: Provenance) -> None:
    """What DX demands of a machine; there was none, so places that may stay empty do."""
    view = provenance.condition["view"]
    file.PresentationIntentType = "FOR PRESENTATION"
    file.PixelIntensityRelationship, file.PixelIntensityRelationshipSign = "LOG", -1
    file.ImageLaterality = "L" if view == "LATERAL" else "U"
    file.AnatomicRegionSequence = Sequence([_code(*_CHEST)])
    value, meaning = _VIEW_CODES[view]
    file.ViewCodeSequence = Sequence([_code(value, "SCT", meaning)])
    file.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence([])
    file.AcquisitionContextSequence = Sequence([])
    file.AcquisitionDate = file.AcquisitionTime = file.ContentDate = file.ContentTime = ""
    file.DetectorType = file.PositionerType = ""
    spacing = FIELD_MM / max(file.Rows, file.Columns)
    file.ImagerPixelSpacing = [f"{spacing:.6g}"] * 2


def _age_string(years: float) -> str:
    """An age in the standard's four letters: months below two years, otherwise whole years."""
    return f"{round(12 * years):03d}M" if years < 2 else f"{int(years):03d}Y"


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = Sequence([_code(*_SOURCE_IMAGE)])
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _seed(stored: Stored, provenance: Provenance) -> bytes:
    return digest_of(provenance.text().encode(), stored.astype("<u2").tobytes())


def _uid(seed: bytes, purpose: str) -> UID:
    """A unique identifier under the root of hashed UUIDs (PS3.5 B.2), the same for the same seed."""
    return UID(f"2.25.{int.from_bytes(digest_of(seed, purpose.encode())[:16], 'big')}")

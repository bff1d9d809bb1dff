"""A record of a public set -> a DICOM file that says what is known of it, and nothing else.

A picture becomes a Secondary Capture (PS3.3 A.8), which is what a published PNG or JPEG is. A DICOM file of a set
keeps its header and its pixels; only what links it to patient and study is put in the words of the set, as for
the pictures. Patient ids are the set's own pseudonyms, and unique identifiers are derived from the set's names.
"""

import re
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, SecondaryCaptureImageStorage

from client.dicom.header import DAMAGED_FILE_ERRORS
from simulation.dicom_writer import uid_of
from simulation.public_sets.picture import PictureDamaged, PixelData, pixel_data
from simulation.public_sets.record import PublicRecord

_DAYS_PER_YEAR = 365.25
_MAX_COUNT = 999
_PLAUSIBLE_ASPECT = (0.5, 2.0)
_DICOM_ENDINGS = {".dcm", ".dicom"}


def study_uid(set_name: str, record: PublicRecord) -> UID:
    """Study instance UID of a record, as the labels name it."""
    return uid_of("public", set_name, "study", record.patient, record.study)


def dicom_file(set_name: str, record: PublicRecord) -> bytes:
    """Content of the DICOM file of one record.

    Raises:
        PictureDamaged: the picture cannot be read as one.
        PictureInColour: it is no radiograph in grey.
        OSError: it is missing or cannot be opened.
    """
    if record.picture.suffix.lower() in _DICOM_ENDINGS:
        radiograph = _copied(record.picture)
    else:
        radiograph = _captured(pixel_data(record.picture), record)
    _identify(radiograph, set_name, record)
    _describe_patient(radiograph, record)
    content = BytesIO()
    try:
        dcmwrite(content, radiograph, enforce_file_format=True)
    except DAMAGED_FILE_ERRORS as err:
        raise PictureDamaged from err
    return content.getvalue()


def file_place(record: PublicRecord) -> Path:
    """Where a record's file lies in the hospital's archive."""
    return Path(_file_name(record.patient), f"{_file_name(record.instance)}.dcm")


def _file_name(name: str) -> str:
    """A name that no file system and no path misunderstands."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[-100:] or "_"


def _copied(path: Path) -> Dataset:
    """A set's DICOM file, with its pixels as they are compressed."""
    try:
        radiograph = dcmread(path)
    except FileNotFoundError:
        raise
    except DAMAGED_FILE_ERRORS as err:
        raise PictureDamaged from err
    if not {"PixelData", "SOPClassUID"} <= set(radiograph.dir()):
        raise PictureDamaged
    return radiograph


def _captured(picture: PixelData, record: PublicRecord) -> Dataset:
    radiograph = Dataset()
    radiograph.file_meta = FileMetaDataset()
    radiograph.file_meta.TransferSyntaxUID = picture.transfer_syntax
    radiograph.SpecificCharacterSet = "ISO_IR 192"
    radiograph.SOPClassUID = SecondaryCaptureImageStorage
    radiograph.Modality = record.modality
    radiograph.ConversionType = "WSD"
    radiograph.ImageType = ["DERIVED", "SECONDARY"]
    for element in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientBirthDate"):
        setattr(radiograph, element, "")
    radiograph.ReferringPhysicianName = radiograph.PatientName = ""
    radiograph.SeriesNumber = radiograph.InstanceNumber = radiograph.PatientOrientation = None
    radiograph.BodyPartExamined = "CHEST"
    _add_pixels(radiograph, picture, record.pixel_aspect)
    return radiograph


def _add_pixels(radiograph: Dataset, picture: PixelData, aspect: float) -> None:
    radiograph.SamplesPerPixel = 1
    radiograph.PhotometricInterpretation = "MONOCHROME2"
    radiograph.Rows, radiograph.Columns = picture.rows, picture.columns
    radiograph.BitsAllocated = radiograph.BitsStored = picture.bits
    radiograph.HighBit = picture.bits - 1
    radiograph.PixelRepresentation = 0
    if aspect != 1.0 and _PLAUSIBLE_ASPECT[0] <= aspect <= _PLAUSIBLE_ASPECT[1]:
        radiograph.PixelAspectRatio = [round(aspect * 10_000), 10_000]
    if picture.is_lossy:
        radiograph.LossyImageCompression = "01"
        radiograph.LossyImageCompressionMethod = "ISO_10918_1"
    radiograph.PixelData = encapsulate([picture.content])
    radiograph["PixelData"].VR = "OB"


def _identify(radiograph: Dataset, set_name: str, record: PublicRecord) -> None:
    """Link the file to its patient and study as the set does; several sets never share a patient."""
    study = study_uid(set_name, record)
    instance = uid_of("public", set_name, "instance", study, record.instance)
    radiograph.PatientID = record.patient
    radiograph.IssuerOfPatientID = set_name
    radiograph.StudyInstanceUID = study
    radiograph.SeriesInstanceUID = uid_of("public", set_name, "series", study, record.instance)
    radiograph.SOPInstanceUID = radiograph.file_meta.MediaStorageSOPInstanceUID = instance
    radiograph.file_meta.MediaStorageSOPClassUID = radiograph.SOPClassUID
    radiograph.file_meta.ImplementationClassUID = uid_of("implementation")


def _describe_patient(radiograph: Dataset, record: PublicRecord) -> None:
    """Facts of the set's tables, also over those of a header; what they do not know stays empty."""
    radiograph.PatientSex = record.sex or ""
    radiograph.PatientAge = _age_string(record.age)
    if record.race is not None:
        radiograph.EthnicGroup = record.race.upper()
    if record.view is not None:
        radiograph.ViewPosition = record.view
    if record.manufacturer is not None and re.search(r"[A-Za-z]", record.manufacturer):
        radiograph.Manufacturer = record.manufacturer[:64]  # a bare number is a code, and no name


def _age_string(age: float | None) -> str:
    """DICOM's way to write an age: whole years, or months or days for ages that are none."""
    if age is None:
        return ""
    if age == int(age) or age * 12 > _MAX_COUNT:
        return f"{int(age):03d}Y"
    days = round(age * _DAYS_PER_YEAR)
    return f"{days:03d}D" if days <= _MAX_COUNT else f"{round(age * 12):03d}M"

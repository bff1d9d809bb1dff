"""One file -> one normalised radiograph, or a reason for not using it."""

import logging
import os
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)

from client.dicom.geometry import Picture, pixel_aspect, to_square, without_border
from client.dicom.greyscale import display_table, padding_range
from client.dicom.header import DAMAGED_FILE_ERRORS, identifier, items, words
from client.dicom.metadata import metadata_of
from client.dicom.outcome import Identity, Radiograph
from client.dicom.pixels import decode_frame
from client.dicom.policy import ReadPolicy
from client.dicom.rejection import Reason, Refused, Rejection
from client.dicom.view import Orientation, orientation_of, shows_chest
from model.conditioning import Metadata

_PREAMBLE_BYTES = 128
_META_HEADER_BYTES = 4096
_KINDS = {
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
}
_MODALITIES = {"CR", "DX", "RG"}


def read_file(path: Path, *, image_size: int, policy: ReadPolicy) -> Radiograph | Rejection:
    """Read one file of unknown content.

    No content of the file makes this raise, and neither result nor log says anything of a refused file
    except the reason.
    """
    try:
        with _pydicom_kept_quiet():
            header = _parse(_read_bytes(path, policy), policy)
            return _to_radiograph(header, image_size=image_size, policy=policy)
    except Refused as refusal:
        return Rejection(reason=refusal.reason)
    except DAMAGED_FILE_ERRORS:
        return Rejection(reason=Reason.UNREADABLE)


@contextmanager
def _pydicom_kept_quiet() -> Iterator[None]:
    """Silence pydicom, whose warnings and log lines quote header values."""
    library = logging.getLogger("pydicom")
    before = library.level
    library.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.setLevel(before)


def _read_bytes(path: Path, policy: ReadPolicy) -> bytes:
    """Read a regular file of bearable size at once, so that it cannot change between check and use."""
    # Without O_NONBLOCK a named pipe would wait for ever; O_NOFOLLOW keeps links from leading elsewhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Refused(Reason.NOT_DICOM)
        if status.st_size > policy.max_file_bytes:
            raise Refused(Reason.TOO_LARGE)
        content = file.read(policy.max_file_bytes + 1)
    if content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] != b"DICM":
        raise Refused(Reason.NOT_DICOM)
    return content


def _parse(content: bytes, policy: ReadPolicy) -> Dataset:
    _check_inflated_size(content, policy.max_file_bytes)
    try:
        return dcmread(BytesIO(content))
    except DAMAGED_FILE_ERRORS as error:
        raise Refused(Reason.UNREADABLE) from error


def _check_inflated_size(content: bytes, max_bytes: int) -> None:
    """Refuse a deflated file that inflates without bearable end, which pydicom would follow."""
    if DeflatedExplicitVRLittleEndian.encode() not in content[:_META_HEADER_BYTES]:
        return
    # Group 0002 starts after the magic with its own length: 4 bytes tag, 2 type, 2 size, 4 value.
    length = int.from_bytes(content[_PREAMBLE_BYTES + 12 : _PREAMBLE_BYTES + 16], "little")
    body = content[_PREAMBLE_BYTES + 16 + length :]
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, max_bytes + 1)
    if len(inflated) > max_bytes:
        raise Refused(Reason.TOO_LARGE)


def _to_radiograph(header: Dataset, *, image_size: int, policy: ReadPolicy) -> Radiograph:
    _check_kind(header)
    metadata = metadata_of(header)
    orientation = orientation_of(header)
    _check_view(metadata, orientation, policy)
    stored = decode_frame(header, max_pixels=policy.max_pixels)
    picture = without_border(_upright(_to_display(header, stored), orientation))
    return Radiograph(
        image=to_square(picture, aspect=pixel_aspect(header), image_size=image_size),
        metadata=metadata,
        identity=_identity_of(header),
        pixel_digest=sha256(repr(stored.shape).encode() + stored.tobytes()).digest(),
    )


def _check_kind(header: Dataset) -> None:
    """Refuse whatever is not one chest radiograph of a person, made for people to look at."""
    right_kind = identifier(header, "SOPClassUID") in _KINDS
    if not right_kind or words(header, "Modality") not in _MODALITIES:
        raise Refused(Reason.WRONG_KIND)
    if not _is_human(header):
        raise Refused(Reason.NOT_HUMAN)
    if "YES" in {words(header, "QualityControlImage"), words(header, "CalibrationImage")}:
        raise Refused(Reason.CALIBRATION)
    if words(header, "BurnedInAnnotation") == "YES":
        raise Refused(Reason.BURNED_IN)
    if not shows_chest(header):
        raise Refused(Reason.NOT_CHEST)


def _is_human(header: Dataset) -> bool:
    """People's headers leave the species out; veterinary ones must state it."""
    codes = items(header, "PatientSpeciesCodeSequence")[:1]
    stated = {words(header, "PatientSpeciesDescription"), *(words(c, "CodeMeaning") for c in codes)}
    return stated <= {"", "HUMAN", "HOMO SAPIENS"}


def _check_view(metadata: Metadata, orientation: Orientation, policy: ReadPolicy) -> None:
    if metadata.view == "LATERAL" and "LATERAL" not in policy.views:
        raise Refused(Reason.LATERAL)
    # Rows towards the patient's right would mean a mirrored chest. In practice the tag is wrong about as
    # often as the picture, and a heart on the wrong side teaches worse than a missing record.
    if metadata.view != "LATERAL" and orientation.row == "R":
        raise Refused(Reason.MIRRORED)


def _to_display(header: Dataset, stored: NDArray[np.int32]) -> Picture:
    lowest, highest = int(stored.min()), int(stored.max())
    if lowest == highest:
        raise Refused(Reason.BLANK)
    table = display_table(header, lowest=lowest, highest=highest)
    measured = np.ones(stored.shape, np.bool_)
    padding = padding_range(header)
    if padding is not None:
        measured = (stored < padding[0]) | (stored > padding[1])
        table[max(padding[0] - lowest, 0) : max(padding[1] - lowest + 1, 0)] = 0.0
    return Picture(brightness=table[stored - lowest], measured=measured)


def _upright(picture: Picture, orientation: Orientation) -> Picture:
    """Turn a picture whose columns run towards the head upside down."""
    if orientation.column != "H":
        return picture
    return picture.part(slice(None, None, -1), slice(None))


def _identity_of(header: Dataset) -> Identity:
    return Identity(
        instance_uid=identifier(header, "SOPInstanceUID"),
        study_uid=identifier(header, "StudyInstanceUID"),
        accession=identifier(header, "AccessionNumber"),
        patient_id=identifier(header, "PatientID"),
        issuer=identifier(header, "IssuerOfPatientID"),
    )

"""One file -> one normalised radiograph, one report, or a reason for using neither."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from client.dicom.flags import flags_of
from client.dicom.geometry import Square, pixel_aspect, to_square, without_border
from client.dicom.greyscale import display_table, padding_range
from client.dicom.header import DAMAGED_FILE_ERRORS, identifier
from client.dicom.kind import check_kind, check_wanted, is_raw
from client.dicom.layout import Patterns
from client.dicom.looks import looks_lateral
from client.dicom.metadata import metadata_of
from client.dicom.orientation import Orientation, Turn, orientation_of, turn_of
from client.dicom.outcome import Identity, Outcome, Radiograph
from client.dicom.parse import parse_file
from client.dicom.picture import Picture
from client.dicom.pixels import Stored, decode_frame
from client.dicom.policy import ReadPolicy
from client.dicom.raw import raw_table
from client.dicom.rejection import Reason, Refused, Rejection
from client.dicom.report import REPORT_KINDS, report_of
from client.dicom.shutter import opening_of
from client.dicom.view import is_surely_frontal
from model.conditioning import Metadata

_SAMPLE_STEP = 8


def read_file(path: Path, *, image_size: int, policy: ReadPolicy) -> Outcome:
    """Read one file of unknown content.

    No content of the file makes this raise, and neither result nor log says anything of a refused file
    except the reason.
    """
    try:
        with _pydicom_kept_quiet():
            header = parse_file(path, max_bytes=policy.max_file_bytes)
            if identifier(header, "SOPClassUID") in REPORT_KINDS:
                return report_of(header)
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


def _to_radiograph(header: Dataset, *, image_size: int, policy: ReadPolicy) -> Radiograph:
    check_kind(header, policy)
    metadata = metadata_of(header, policy.ethnic_groups)
    check_wanted(metadata, policy)
    orientation = orientation_of(header)
    turn = turn_of(orientation)
    stored = decode_frame(header, max_pixels=policy.max_pixels)
    picture = _upright(header, _to_display(header, stored), turn)
    aspect = pixel_aspect(header)
    square = to_square(
        picture, aspect=1.0 / aspect if turn.is_sideways else aspect, image_size=image_size
    )
    _check_looks(header, metadata, orientation, square, policy)
    kept_share = picture.patterns.size / stored.patterns.size
    return Radiograph(
        image=square.image,
        metadata=metadata,
        identity=_identity_of(header),
        pixel_digest=stored.digest,
        flags=flags_of(header, metadata, square, kept_share=kept_share, is_raw=is_raw(header)),
    )


def _to_display(header: Dataset, stored: Stored) -> Picture:
    """Decide the brightness of every stored value."""
    values = stored.values
    lowest, highest = _extremes(stored, values)
    if lowest == highest:
        raise Refused(Reason.BLANK)
    filled = _filled(header, values)
    if is_raw(header):
        table = raw_table(header, values, sample=_measured_sample(stored.patterns, filled))
    else:
        table = display_table(header, values, lowest=lowest, highest=highest)
    measured = np.take(~filled, stored.patterns, mode="clip") if filled.any() else None
    return Picture(patterns=stored.patterns, table=table, measured=measured)


def _extremes(stored: Stored, values: NDArray[np.int32]) -> tuple[int, int]:
    held = np.take(values, stored.patterns, mode="clip") if stored.signed else stored.patterns
    return int(held.min()), int(held.max())


def _filled(header: Dataset, values: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which stored values fill the picture where nothing was measured."""
    padding = padding_range(header)
    if padding is None:
        return np.zeros(values.shape, np.bool_)
    return (values >= padding[0]) & (values <= padding[1])


def _measured_sample(patterns: Patterns, filled: NDArray[np.bool_]) -> Patterns:
    sample = patterns[::_SAMPLE_STEP, ::_SAMPLE_STEP]
    measured: Patterns = sample[~filled[sample]]
    if not measured.size:
        raise Refused(Reason.BLANK)
    return measured


def _upright(header: Dataset, picture: Picture, turn: Turn) -> Picture:
    """Without shutters and borders, head up."""
    opening = opening_of(header, picture.shape)
    if opening is not None:
        picture = picture.behind(opening)
    return without_border(picture.turned(turn))


def _check_looks(
    header: Dataset,
    metadata: Metadata,
    orientation: Orientation,
    square: Square,
    policy: ReadPolicy,
) -> None:
    """Ask the picture whether it is lateral, where that matters and the header does not tell."""
    if metadata.view is not None or "LATERAL" in policy.views:
        return
    if not is_surely_frontal(header, orientation) and looks_lateral(square.covered):
        raise Refused(Reason.LATERAL)


def _identity_of(header: Dataset) -> Identity:
    return Identity(
        instance_uid=identifier(header, "SOPInstanceUID"),
        study_uid=identifier(header, "StudyInstanceUID"),
        accession=identifier(header, "AccessionNumber"),
        patient_id=identifier(header, "PatientID"),
        issuer=identifier(header, "IssuerOfPatientID"),
    )

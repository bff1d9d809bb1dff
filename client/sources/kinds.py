"""What is asked of a PACS and accepted from it: kinds of instances, how they are encoded and identified."""

import re

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
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

from client.dicom.kind import RADIOGRAPH_KINDS
from client.dicom.report import REPORT_KINDS

RADIOGRAPHS = tuple(sorted(RADIOGRAPH_KINDS))
REPORTS = tuple(sorted(REPORT_KINDS))
REPORT_MODALITY = "SR"

PLAIN_SYNTAXES: tuple[UID, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
PICTURE_SYNTAXES: tuple[UID, ...] = (
    *PLAIN_SYNTAXES,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    JPEG2000,
    HTJ2K,
)
"""In the order in which they are preferred of a sender that has the choice: those with loss last."""

_MAX_UID_LENGTH = 64
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(value: str) -> bool:
    """Whether this is a unique identifier, apart from leading zeros, which some machines write."""
    return len(value) <= _MAX_UID_LENGTH and _UID.fullmatch(value) is not None

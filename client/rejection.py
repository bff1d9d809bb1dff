"""Why a file is not used: a fixed list of reason codes, and never a word from the file itself."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Everything that may be said about a refused file."""

    NOT_DICOM = "not_dicom"
    UNREADABLE = "unreadable"
    WRONG_KIND = "wrong_kind"
    NOT_HUMAN = "not_human"
    CALIBRATION = "calibration"
    NOT_CHEST = "not_chest"
    LATERAL = "lateral"
    MIRRORED = "mirrored"
    BURNED_IN = "burned_in"
    MULTI_FRAME = "multi_frame"
    TOO_LARGE = "too_large"
    BAD_GEOMETRY = "bad_geometry"
    NO_PIXELS = "no_pixels"
    NO_DECODER = "no_decoder"
    DECODE_FAILED = "decode_failed"
    BLANK = "blank"
    LOW_CONTRAST = "low_contrast"
    DUPLICATE = "duplicate"


_PHRASES = {
    Reason.NOT_DICOM: "not DICOM",
    Reason.UNREADABLE: "unreadable",
    Reason.WRONG_KIND: "not a radiograph",
    Reason.NOT_HUMAN: "not human",
    Reason.CALIBRATION: "calibration",
    Reason.NOT_CHEST: "not a chest",
    Reason.LATERAL: "lateral",
    Reason.MIRRORED: "mirrored",
    Reason.BURNED_IN: "with burned-in text",
    Reason.MULTI_FRAME: "with several frames",
    Reason.TOO_LARGE: "too large",
    Reason.BAD_GEOMETRY: "with impossible dimensions",
    Reason.NO_PIXELS: "without pixels",
    Reason.NO_DECODER: "in a compression without decoder",
    Reason.DECODE_FAILED: "with damaged pixels",
    Reason.BLANK: "blank",
    Reason.LOW_CONTRAST: "almost without contrast",
    Reason.DUPLICATE: "duplicate",
}


def describe_count(reason: Reason, count: int) -> str:
    """Words for a person, such as `4 unreadable` or `2 duplicates`."""
    plural = "s" if reason is Reason.DUPLICATE and count != 1 else ""
    return f"{count} {_PHRASES[reason]}{plural}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A file that is not used."""

    reason: Reason
    """The code; nothing else about the file is kept."""


class Refused(Exception):
    """Carries a reason from any depth of the reader up to `read_radiograph`, which returns it as data."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason

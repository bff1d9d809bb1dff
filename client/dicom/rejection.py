"""Why a file is not used: a fixed list of reason codes, and never a word from the file itself."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Everything that may be said about a refused file."""

    NOT_DICOM = "not_dicom"
    UNREADABLE = "unreadable"
    OUTSIDE_LINK = "outside_link"
    WRONG_KIND = "wrong_kind"
    NOT_HUMAN = "not_human"
    CALIBRATION = "calibration"
    NOT_CHEST = "not_chest"
    LATERAL = "lateral"
    OTHER_VIEW = "other_view"
    MIRRORED = "mirrored"
    RAW = "raw"
    SECONDARY = "secondary"
    TOO_YOUNG = "too_young"
    BURNED_IN = "burned_in"
    SYNTHETIC = "synthetic"
    MULTI_FRAME = "multi_frame"
    COLOUR = "colour"
    TOO_LARGE = "too_large"
    BAD_GEOMETRY = "bad_geometry"
    NO_PIXELS = "no_pixels"
    NO_DECODER = "no_decoder"
    DECODE_FAILED = "decode_failed"
    TOO_SLOW = "too_slow"
    READER_DIED = "reader_died"
    BLANK = "blank"
    LOW_CONTRAST = "low_contrast"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    OPTED_OUT = "opted_out"
    NOT_FETCHED = "not_fetched"


_PHRASES = {
    Reason.NOT_DICOM: "not DICOM",
    Reason.UNREADABLE: "unreadable",
    Reason.OUTSIDE_LINK: "behind a link that leaves the folder",
    Reason.WRONG_KIND: "not a radiograph",
    Reason.NOT_HUMAN: "not human",
    Reason.CALIBRATION: "calibration",
    Reason.NOT_CHEST: "not a chest",
    Reason.LATERAL: "lateral",
    Reason.OTHER_VIEW: "in a view that is not wanted",
    Reason.MIRRORED: "mirrored",
    Reason.RAW: "raw detector data",
    Reason.SECONDARY: "captured a second time",
    Reason.TOO_YOUNG: "of younger patients",
    Reason.BURNED_IN: "with burned-in text",
    Reason.SYNTHETIC: "made by a program",
    Reason.MULTI_FRAME: "with several frames",
    Reason.COLOUR: "in colour",
    Reason.TOO_LARGE: "too large",
    Reason.BAD_GEOMETRY: "with impossible dimensions",
    Reason.NO_PIXELS: "without pixels",
    Reason.NO_DECODER: "in a compression without decoder",
    Reason.DECODE_FAILED: "with damaged pixels",
    Reason.TOO_SLOW: "given up after the time limit",
    Reason.READER_DIED: "fatal to the reader",
    Reason.BLANK: "blank",
    Reason.LOW_CONTRAST: "almost without contrast",
    Reason.DUPLICATE: "duplicate",
    Reason.NEAR_DUPLICATE: "near-duplicate",
    Reason.OPTED_OUT: "of patients who opted out",
    Reason.NOT_FETCHED: "not delivered by the PACS",
}
_COUNTABLE = {Reason.DUPLICATE, Reason.NEAR_DUPLICATE}


def describe_count(reason: Reason, count: int) -> str:
    """Words for a person, such as `4 unreadable` or `2 duplicates`."""
    plural = "s" if reason in _COUNTABLE and count != 1 else ""
    return f"{count} {_PHRASES[reason]}{plural}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A file that is not used."""

    reason: Reason
    """The code; nothing else about the file is kept."""


class Refused(Exception):
    """Carries a reason from any depth of the reader up to `read_file`, which returns it as data."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason

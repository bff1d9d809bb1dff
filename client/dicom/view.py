"""What a radiograph shows, from its header: body part, projection and how it lies in the picture."""

import re
from dataclasses import dataclass

from pydicom import Dataset

from client.dicom.header import identifier, items, values_of, words

_PA = {
    "PA",
    "POSTEROANTERIOR",
    "POSTERO ANTERIOR",
    "POSTERIOR ANTERIOR",
    "POSTERO ANTERIOR PROJECTION",
}
_AP = {"AP", "ANTEROPOSTERIOR", "ANTERO POSTERIOR", "ANTERIOR POSTERIOR", "AP SUPINE"} | {
    "AP HORIZONTAL",
    "AP AXIAL",
    "SUPINE",
}
_LATERAL = {"LL", "RL", "L", "LAT", "LATERAL", "LARGE LATERAL", "LEFT LATERAL", "RIGHT LATERAL"}
_OTHER = {"LAO", "RAO", "LPO", "RPO", "LLD", "RLD", "OBLIQUE", "OBLICUA", "LORDOTIC", "DECUBITUS"}
_VIEW_WORDS = {
    **dict.fromkeys(_PA, "PA"),
    **dict.fromkeys(_AP, "AP"),
    **dict.fromkeys(_LATERAL, "LATERAL"),
    **dict.fromkeys(_OTHER, "OTHER"),
}
# Projection codes of DICOM PS3.16 CID 4010: SNOMED CT, and the retired SNOMED RT ones of old archives.
_VIEW_CODES = {
    "272479007": "PA",
    "R-10214": "PA",
    "399348003": "AP",
    "R-10206": "AP",
    "399067008": "LATERAL",
    "399173006": "LATERAL",
    "399198007": "LATERAL",
    "R-10228": "LATERAL",
    "R-10232": "LATERAL",
    "R-10236": "LATERAL",
}
_DESCRIPTIONS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "StudyDescription",
)
_CHEST = re.compile(r"\b(CHEST|THORAX|LUNGS?|CXR|TORAX|RIBS?)\b")
_ELSEWHERE = re.compile(r"\b(ABDOMEN|PELVIS|SPINE|KNEE|HAND|FOOT)\b")
_LATERAL_TEXT = re.compile(r"\b(LAT|LATERAL|LL|PROFIL|SEITLICH)\b")
_FRONTAL_TEXT = re.compile(r"\b(PA|AP)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Orientation:
    """Where the first row and the first column of the picture point, one letter each, or empty."""

    row: str
    """L or R in a frontal picture, A or P in a lateral one."""
    column: str
    """F (towards the feet) or H (towards the head: the picture is upside down)."""


def orientation_of(header: Dataset) -> Orientation:
    """Read PatientOrientation; both letters are empty when it is missing or malformed."""
    directions = [str(value).upper()[:1] for value in values_of(header, "PatientOrientation")]
    if len(directions) != 2:
        return Orientation(row="", column="")
    return Orientation(row=directions[0], column=directions[1])


def view_of(header: Dataset, orientation: Orientation) -> str | None:
    """PA, AP, LATERAL, OTHER, or None when the header does not say.

    The direction of the rows outranks every description: over thousands of real headers, rows that
    run from front to back always meant a lateral picture, whereas descriptions are often copied.
    """
    if orientation.row in {"A", "P"}:
        return "LATERAL"
    text = " ".join(words(header, keyword) for keyword in _DESCRIPTIONS)
    declared = _declared_view(header)
    if (
        declared in {"PA", "AP"}
        and _LATERAL_TEXT.search(text)
        and orientation.row not in {"L", "R"}
    ):
        return "LATERAL"
    return declared or _described_view(text)


def _declared_view(header: Dataset) -> str | None:
    declared = _VIEW_WORDS.get(words(header, "ViewPosition"))
    if declared:
        return declared
    codes = (identifier(item, "CodeValue") for item in items(header, "ViewCodeSequence")[:1])
    return next((_VIEW_CODES[code] for code in codes if code in _VIEW_CODES), None)


def _described_view(text: str) -> str | None:
    if _LATERAL_TEXT.search(text):
        return "LATERAL"
    frontal = _FRONTAL_TEXT.search(text)
    return frontal[1] if frontal else None


def shows_chest(header: Dataset) -> bool:
    """Whether the header names the chest and no other region, or names no region at all.

    A third of real chest headers leave the body part out, so silence is not a refusal.
    """
    keywords = ("BodyPartExamined", "RequestedProcedureDescription", *_DESCRIPTIONS)
    parts = [words(header, keyword) for keyword in keywords]
    parts += [words(item, "CodeMeaning") for item in items(header, "AnatomicRegionSequence")[:1]]
    text = " ".join(part for part in parts if part)
    if not text:
        return True
    return bool(_CHEST.search(text)) and not _ELSEWHERE.search(text)

"""What a radiograph shows, from its header: body part and projection."""

import re

from pydicom import Dataset

from client.dicom.header import identifier, items, words
from client.dicom.orientation import Orientation

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
_OTHER = {
    "OTHER",
    "LAO",
    "RAO",
    "LPO",
    "RPO",
    "LLD",
    "RLD",
    "OBLIQUE",
    "OBLICUA",
    "LORDOTIC",
    "DECUBITUS",
}
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
_FRONTAL_CODES = {"399033003", "R-10202"}
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


def view_of(header: Dataset, orientation: Orientation) -> str | None:
    """PA, AP, LATERAL, OTHER, or None when the header does not say.

    The direction of the rows outranks every description: over thousands of real headers, rows that
    run from front to back always meant a lateral picture, whereas descriptions are often copied.
    """
    if orientation.is_lateral:
        return "LATERAL"
    text = " ".join(words(header, keyword) for keyword in _DESCRIPTIONS)
    declared = _declared_view(header)
    if declared in {"PA", "AP"} and _LATERAL_TEXT.search(text) and not orientation.is_frontal:
        return "LATERAL"
    return declared or _described_view(text)


def is_surely_frontal(header: Dataset, orientation: Orientation) -> bool:
    """Whether the header says that the picture is frontal, even if not whether it is PA or AP."""
    return orientation.is_frontal or _view_code(header) in _FRONTAL_CODES


def _declared_view(header: Dataset) -> str | None:
    declared = _VIEW_WORDS.get(words(header, "ViewPosition"))
    return declared or _VIEW_CODES.get(_view_code(header))


def _view_code(header: Dataset) -> str:
    codes = [identifier(item, "CodeValue") for item in items(header, "ViewCodeSequence")[:1]]
    return codes[0] if codes else ""


def _described_view(text: str) -> str | None:
    if _LATERAL_TEXT.search(text):
        return "LATERAL"
    frontal = _FRONTAL_TEXT.search(text)
    return frontal[1] if frontal else None


def shows_chest(header: Dataset) -> bool | None:
    """Whether the header names the chest and no other region; None if it names no region at all."""
    keywords = ("BodyPartExamined", "RequestedProcedureDescription", *_DESCRIPTIONS)
    parts = [words(header, keyword) for keyword in keywords]
    parts += [words(item, "CodeMeaning") for item in items(header, "AnatomicRegionSequence")[:1]]
    text = " ".join(part for part in parts if part)
    if not text:
        return None
    return bool(_CHEST.search(text)) and not _ELSEWHERE.search(text)

"""A DICOM structured report -> its statements, in the order of the content tree (PS3.3 C.17.3, PS3.16 TID 2000).

Read are coded meanings and text, each under its heading; not read are names of people, earlier findings, what
was asked, and what only refers to something else. The statements are handed to the rules that make findings of
them, and are never stored, logged or sent.
"""

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    ChestCADSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExtensibleSRStorage,
)

from client.dicom.header import identifier, items
from client.dicom.outcome import Identity, Report
from client.dicom.rejection import Reason, Refused

REPORT_KINDS = frozenset(
    {
        BasicTextSRStorage,
        ChestCADSRStorage,
        Comprehensive3DSRStorage,
        ComprehensiveSRStorage,
        EnhancedSRStorage,
        ExtensibleSRStorage,
    }
)
"""SOP classes whose content tree may tell findings of a radiograph."""

MAX_DEPTH = 32
MAX_ITEMS = 20_000
MAX_CHARACTERS = 2**17

_MODIFIES = {"HAS CONCEPT MOD", "HAS PROPERTIES"}
_LEADS_ON = {"CONTAINS", "INFERRED FROM"}
"""Relationships whose targets are statements of their own. Others lead to people, to pictures, to how the
picture was made."""

# Headings and concepts of what was known or asked before the radiograph, or is to be done after it
# (PS3.16 CID 7001 and 7002, with the codes of earlier editions).
_NOT_OF_THIS_PICTURE = {
    ("DCM", "121060"),  # history
    ("LN", "11329-0"),
    ("DCM", "121062"),  # request
    ("LN", "55115-0"),
    ("DCM", "121064"),  # current procedure descriptions
    ("DCM", "121065"),
    ("LN", "55111-9"),
    ("DCM", "121066"),  # prior procedure descriptions
    ("LN", "55114-3"),
    ("DCM", "121068"),  # previous findings
    ("DCM", "121069"),
    ("LN", "18834-2"),
    ("DCM", "121074"),  # recommendations
    ("DCM", "121075"),
    ("LN", "18783-1"),
    ("DCM", "121109"),  # indications for procedure
    ("LN", "18785-6"),
    ("DCM", "121110"),  # patient presentation
    ("LN", "55108-5"),
    ("LN", "55752-0"),  # clinical information
    ("DCM", "121049"),  # language of content
}
_FRAMES = {("DCM", "111017")}
"""Says whether a machine's algorithms ran; what they found stands below it."""
_NOT_FOR_PEOPLE = ("DCM", "111152")
"""Rendering intent of a machine's finding that it gave up itself."""


def report_of(header: Dataset) -> Report:
    """The report that a file holds; one that is not finished makes no statements.

    Raises:
        Refused: WRONG_KIND if it is no structured report, TOO_LARGE if its tree is no person's work.
    """
    if identifier(header, "SOPClassUID") not in REPORT_KINDS:
        raise Refused(Reason.WRONG_KIND)
    return Report(
        identity=Identity(
            instance_uid=identifier(header, "SOPInstanceUID"),
            study_uid=identifier(header, "StudyInstanceUID"),
            accession=identifier(header, "AccessionNumber"),
            patient_id=identifier(header, "PatientID"),
            issuer=identifier(header, "IssuerOfPatientID"),
        ),
        statements=tuple(_statements(header)) if _is_finished(header) else (),
    )


def _is_finished(header: Dataset) -> bool:
    preliminary = identifier(header, "PreliminaryFlag") == "PRELIMINARY"
    return identifier(header, "CompletionFlag") != "PARTIAL" and not preliminary


def _statements(root: Dataset) -> Iterator[str]:
    """Walk the tree in order, without recursion: depth and size are the file's choice."""
    budget = _Budget()
    waiting = [(item, 1) for item in _led_on_to(items(root, "ContentSequence"))]
    while waiting:
        item, depth = waiting.pop()
        children = items(item, "ContentSequence")
        budget.spend(num_items=1 + len(children), depth=depth)
        if not _is_wanted(item, children):
            continue
        statement = _statement(item, children)
        if statement:
            budget.spend(num_characters=len(statement))
            yield statement
        waiting += [(child, depth + 1) for child in _led_on_to(children)]


def _led_on_to(children: list[Dataset]) -> list[Dataset]:
    """Statements below an item, the first one last."""
    return [child for child in reversed(children) if _relation(child) in _LEADS_ON]


def _is_wanted(item: Dataset, children: list[Dataset]) -> bool:
    if _code(item, "ConceptNameCodeSequence") in _NOT_OF_THIS_PICTURE:
        return False
    return _NOT_FOR_PEOPLE not in {_code(child, "ConceptCodeSequence") for child in children}


def _statement(item: Dataset, children: list[Dataset]) -> str:
    """Heading, value, and the values of what modifies it, such as `Finding: Pneumothorax Absent`."""
    value = _value(item)
    if not value or _code(item, "ConceptNameCodeSequence") in _FRAMES:
        return ""
    modifiers = (_value(child) for child in children if _relation(child) in _MODIFIES)
    name = _meaning(item, "ConceptNameCodeSequence")
    whole = " ".join(part for part in (value, *modifiers) if part)
    return f"{name}: {whole}" if name else whole


def _value(item: Dataset) -> str:
    """Words of a text or a code; other kinds of items hold names, dates, numbers and references."""
    match identifier(item, "ValueType"):
        case "TEXT":
            return identifier(item, "TextValue")
        case "CODE":
            return _meaning(item, "ConceptCodeSequence")
        case _:
            return ""


def _relation(item: Dataset) -> str:
    return identifier(item, "RelationshipType")


def _meaning(item: Dataset, keyword: str) -> str:
    return next((identifier(code, "CodeMeaning") for code in items(item, keyword)[:1]), "")


def _code(item: Dataset, keyword: str) -> tuple[str, str]:
    codes = items(item, keyword)[:1] or [Dataset()]
    return identifier(codes[0], "CodingSchemeDesignator"), identifier(codes[0], "CodeValue")


class _Budget:
    """What one report may make the reader do."""

    def __init__(self) -> None:
        self._items, self._characters = MAX_ITEMS, MAX_CHARACTERS

    def spend(self, *, num_items: int = 0, num_characters: int = 0, depth: int = 0) -> None:
        """Take from what is left.

        Raises:
            Refused: TOO_LARGE, if nothing is left.
        """
        self._items -= num_items
        self._characters -= num_characters
        if self._items < 0 or self._characters < 0 or depth > MAX_DEPTH:
            raise Refused(Reason.TOO_LARGE)

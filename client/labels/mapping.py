"""How a hospital's table says what the model knows: one YAML file a data set, checked word by word.

A table names its rows by one kind of identifier and tells findings in one of four shapes. The words it uses
for a finding stand below `findings`. What it has no words for stays unknown: silence about a thing that
nobody could have said is no statement that it is absent.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from client.labels.shape import CodedColumns, ListCell, ReportColumns, TermRows
from client.labels.words import file_name, plain
from federation.strict_yaml import STRICT
from model.conditioning import FINDINGS

KeyKind = Literal["study", "accession", "instance", "file", "patient"]

UNCERTAIN_WORDS = (
    "possible",
    "possibly",
    "probable",
    "probably",
    "suspected",
    "suspicion of",
    "questionable",
    "likely",
    "equivocal",
    "uncertain",
    "cannot exclude",
)
"""Before or after a term they make it uncertain, as a question mark always does."""

_MAX_FOLDERS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class RowKey:
    """What a row is about."""

    kind: KeyKind
    """``study``: study instance UID; ``accession``: accession number; ``instance``: SOP instance UID;
    ``file``: file name without ending; ``patient``: patient id."""
    columns: tuple[str, ...]
    """Titles that the column may have; the first that the table has counts."""
    folders: int = 0
    """Of a file, how many of the folders above it belong to its name."""

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("columns must name the column of the identifier")
        if not 0 <= self.folders <= _MAX_FOLDERS:
            raise ValueError(f"folders is {self.folders}, it must be 0 to {_MAX_FOLDERS}")

    def identifier(self, value: str) -> str:
        """The identifier in the form that rows and radiographs are compared by."""
        return file_name(value, self.folders) if self.kind == "file" else value.strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingWords:
    """The terms that speak of one finding."""

    present: tuple[str, ...] = ()
    """Terms that say that it is there."""
    uncertain: tuple[str, ...] = ()
    """Terms that make it possible."""
    absent: tuple[str, ...] = ()
    """Terms that say that it is not there."""
    complete: bool = True
    """Whether the terms cover every form of the finding. If not, their silence leaves it unknown."""

    def __post_init__(self) -> None:
        _check_once(self.terms, "stands twice for one finding")
        if not self.terms:
            raise ValueError("a finding needs at least one term, or is left out of the mapping")

    @property
    def terms(self) -> tuple[str, ...]:
        """All of them."""
        return self.present + self.uncertain + self.absent


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelMapping:
    """One way of writing labels down, and what it means in the model's words."""

    __pydantic_config__: ClassVar = STRICT

    key: RowKey
    columns: CodedColumns | None = None
    cell: ListCell | None = None
    rows: TermRows | None = None
    text: ReportColumns | None = None
    """Shapes the table may have; of several, the first of rows, cell, columns, text that its titles fit."""
    findings: Mapping[str, FindingWords] = field(default_factory=dict)
    """Finding -> the terms that speak of it. One term may speak of several findings."""
    other_findings: tuple[str, ...] = ()
    """Findings beyond CheXpert's fourteen that this mapping can tell, for studies that ask for them."""
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Term -> findings that are forms of it. Where it is absent so are they; where it is present, those
    that are not told themselves are unknown."""
    no_finding_excludes: tuple[str, ...] = ()
    """Findings that are absent where ``no_finding`` is present and nothing is said of them; where one of
    them is present and ``no_finding`` is not told, that is absent."""
    open_ended: tuple[str, ...] = ()
    """Terms after which a list is not complete: what it leaves out is unknown."""
    void: tuple[str, ...] = ()
    """Terms that make a row say nothing at all."""
    ignored: tuple[str, ...] = ()
    """Terms that are known to say nothing of any finding here."""
    uncertain_words: tuple[str, ...] = UNCERTAIN_WORDS
    """Words before or after a term that make it uncertain."""
    report_terms: str = "report_terms"
    """How report text is read: the name of rules that come with the program, or a YAML file."""

    def __post_init__(self) -> None:
        if not any((self.columns, self.cell, self.rows, self.text)):
            raise ValueError(
                "one of columns, cell, rows and text must say what the table looks like"
            )
        _check_names(self)
        silent = self.open_ended + self.void + self.ignored
        _check_once(silent, "stands twice among open_ended, void and ignored")
        telling = {plain(term) for words in self.findings.values() for term in words.terms}
        both = [term for term in silent if plain(term) in telling | {*map(plain, self.parents)}]
        if both:
            raise ValueError(f"the term {both[0]!r} tells a finding here and none there")


def _check_names(mapping: LabelMapping) -> None:
    """Find mistyped findings."""
    named = {*mapping.findings, *mapping.no_finding_excludes}.union(*mapping.parents.values())
    for shape in (mapping.cell, mapping.rows):
        named |= set() if shape is None else set(shape.cannot_say)
    unknown = sorted(named - {*FINDINGS, *mapping.other_findings})
    if unknown:
        raise ValueError(
            f"there is no finding {', '.join(unknown)}: the model's are {', '.join(FINDINGS)}, and every "
            "other one must stand in other_findings"
        )
    idle = sorted(set(mapping.other_findings) - named)
    if idle:
        raise ValueError(f"other_findings names {', '.join(idle)}, which nothing here tells")


def _check_once(terms: tuple[str, ...], complaint: str) -> None:
    counts = Counter(map(plain, terms))
    for term in terms:
        if not plain(term):
            raise ValueError("a term is empty")
        if counts[plain(term)] > 1:
            raise ValueError(f"the term {term!r} {complaint}")

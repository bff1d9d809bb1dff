"""The shapes that a table of labels may have: columns of codes, a cell that lists, a row a finding, text."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from client.labels.words import plain_code

State = Literal["absent", "present", "uncertain", "not_mentioned"]
Silence = Literal["absent", "not_mentioned", "unknown"]
Meaning = Literal["absent", "present", "uncertain", "not_mentioned", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Votes:
    """Several people read each radiograph."""

    rater: str
    """Title of the column that tells them apart; without it in the table, every row speaks for all."""
    min_votes: int
    """As many must say a finding for it to be present; said by fewer it is uncertain."""

    def __post_init__(self) -> None:
        if self.min_votes < 1:
            raise ValueError(f"min_votes is {self.min_votes}, it must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class CodedColumns:
    """A row a radiograph, a column a finding, a code in each cell."""

    codes: Mapping[str, Meaning]
    """Value of a cell -> state; `1.0` is `1`, capitals do not matter."""
    blank: Silence
    """What an empty cell says."""
    own_names: bool = False
    """Whether a finding without words in the mapping has a column of its own name."""
    other_columns: tuple[str, ...] = ()
    """Titles of columns that hold something else."""
    votes: Votes | None = None

    def __post_init__(self) -> None:
        _check_codes(self.codes)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListCell:
    """A row a radiograph, and one cell that lists what was found."""

    column: str
    """Title of the column."""
    separator: str = ""
    """What stands between two terms; empty for a list as Python writes it, `['mass', 'nodule']`."""
    silence: Silence
    """What the list says of a finding that it leaves out."""
    empty: Silence
    """What a cell without any term says."""
    cannot_say: tuple[str, ...] = ()
    """Findings that this shape of the table never tells, though another does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TermRows:
    """A row a finding; a radiograph has as many rows as were found."""

    column: str
    """Title of the column with the term."""
    value: str = ""
    """Title of the column with a code; empty where every row says that its finding is present."""
    codes: Mapping[str, Meaning] = field(default_factory=dict)
    """Value of the code -> state."""
    silence: Silence
    """What the rows say of a finding without a row."""
    votes: Votes | None = None
    cannot_say: tuple[str, ...] = ()
    """Findings that this shape of the table never tells, though another does."""

    def __post_init__(self) -> None:
        _check_codes(self.codes)
        if bool(self.value) != bool(self.codes):
            raise ValueError("value and codes go together: give both or neither")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportColumns:
    """A row a radiograph, and the words of its report, which are read by rule."""

    columns: tuple[str, ...]
    """Titles of the columns with text; those that the table has are read, each by itself."""

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("columns must name at least one column with report text")


def _check_codes(codes: Mapping[str, Meaning]) -> None:
    counts = Counter(map(plain_code, codes))
    repeated = [code for code in codes if counts[plain_code(code)] > 1]
    if repeated:
        raise ValueError(f"the code {repeated[0]!r} stands twice")
    if "" in counts:
        raise ValueError("an empty cell is no code: say what it means with blank")

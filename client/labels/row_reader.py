"""The cells of one radiograph -> states: what every shape of table offers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from client.labels.shape import Votes

MISSING = "\0missing"
"""Stands for a cell that a damaged row does not have; no file can hold it."""
REMEMBERED_ROWS = 2**14
"""Rows whose meaning is kept, because most rows of a table say what another one said."""

Cells = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one radiograph's cells say."""

    states: Mapping[str, str] = field(default_factory=dict)
    """Finding -> state; findings left out are unknown."""
    num_conflicts: int = 0
    """Contradictions within the row."""
    num_bad_values: int = 0
    """Cells whose value has no meaning."""
    unmapped: tuple[str, ...] = ()
    """Terms that the mapping does not know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowReader:
    """Reads the rows of a table with certain titles."""

    titles: tuple[str, ...]
    """Plain titles of the columns that it reads, in the order of the cells it is given."""
    can_tell: Callable[[str], bool]
    """Whether the table could say anything of a finding."""
    read: Callable[[tuple[Cells, ...]], Reading]
    """What the rows of one radiograph say: one row, unless it gathers."""
    gathers: bool = False
    """Whether all rows of a radiograph are one statement, rather than each row one."""
    votes: Votes | None = None
    """Whether several people read each radiograph."""
    idle_titles: tuple[str, ...] = ()
    """Plain titles of columns that could hold a finding, and hold none that is known."""

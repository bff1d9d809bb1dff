"""The hospital's table of labels -> findings per radiograph, in the words of the model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from client.labels.agreement import agreed, voted
from client.labels.mapping import KeyKind, LabelMapping
from client.labels.readers import reader_for
from client.labels.row_reader import MISSING, Cells, RowReader
from client.labels.sheet import NoTable, Sheet, open_sheet
from client.labels.words import plain

NUM_UNMAPPED_SHOWN = 20
MIN_ROWS_SHOWN = 5
"""A term that fewer rows say is not shown: it may be a slip that holds a name."""
_MAX_UNMAPPED = 10_000
_MAX_TERM = 60


class LabelProblem(StrEnum):
    """What can be wrong with a labels file without stopping the work."""

    UNKNOWN_COLUMN = "unknown_column"
    """A column that could hold a finding and holds none that is known."""
    MISSING_COLUMN = "missing_column"
    """A finding that is asked for and that the table cannot tell."""
    DUPLICATE_STUDY = "duplicate_study"
    """A row whose identifier an earlier row has."""
    NO_STUDY = "no_study"
    """A row without identifier."""
    BAD_VALUE = "bad_value"
    """A cell whose value has no meaning in the mapping."""
    DAMAGED_ROW = "damaged_row"
    """A row with too few cells, or with too many, which is not used."""
    UNMAPPED_TERM = "unmapped_term"
    """A term, in one row, that the mapping does not know."""
    CONFLICT = "conflict"
    """A finding of which two things are said: left unknown, or what the labels say if a report differs."""


class LabelsUnusable(ValueError):
    """The labels file as a whole cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"The labels {path} cannot be used: {reason}. The data manager corrects the table, or "
            "label_mapping in the hospital's profile, which says how it is to be read, or takes the labels "
            "out of the profile."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Findings of every labelled radiograph."""

    key: KeyKind = "study"
    """What the identifiers are identifiers of."""
    states: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Identifier, in the form that the mapping's key gives it -> finding -> state. A finding without a usable value is left out: unknown."""
    problems: Mapping[LabelProblem, int] = field(default_factory=dict)
    """How often each problem occurred."""
    unmapped: Mapping[str, int] = field(default_factory=dict, repr=False)
    """The most frequent terms that the mapping does not know -> rows. For the hospital's own eyes."""

    def of(self, identifier: str) -> Mapping[str, str]:
        """Findings of one identifier; none if no row has it."""
        return self.states.get(identifier, {})


NO_LABELS = Labels()


def read_labels(path: Path, mapping: LabelMapping, findings: tuple[str, ...]) -> Labels:
    """Read the findings asked for; everything odd about single rows is counted and left out.

    What a row calls `name` has the findings ``labels.of(mapping.key.identifier(name))``.

    Raises:
        LabelsUnusable: there is no such file, it is no table, or not one that the mapping describes.
        ConfigError: the mapping names report rules that cannot be used.
    """
    try:
        with open_sheet(path) as sheet:
            return labels_of_sheet(sheet, mapping, findings)
    except NoTable as err:
        raise LabelsUnusable(path, str(err)) from None
    except (FileNotFoundError, IsADirectoryError):
        raise LabelsUnusable(path, "there is no such file") from None
    except PermissionError:
        raise LabelsUnusable(path, "this user may not read it") from None


def labels_of_sheet(sheet: Sheet, mapping: LabelMapping, findings: tuple[str, ...]) -> Labels:
    """The same for a table that is open already, or was made from something else.

    Raises:
        NoTable: it lacks the identifier, or has no shape that the mapping describes.
        ConfigError: the mapping names report rules that cannot be used.
    """
    titles = [plain(title) for title in sheet.columns]
    wanted = [plain(title) for title in mapping.key.columns]
    key = next((title for title in wanted if title in titles), None)
    if key is None:
        raise NoTable(f"its first line names no column {' or '.join(mapping.key.columns)}")
    reader = reader_for(mapping, titles, findings)
    if reader is None:
        raise NoTable("it has no column that tells a finding")
    clerk = _Clerk(titles, key, reader, mapping)
    clerk.problems[LabelProblem.MISSING_COLUMN] = sum(
        not reader.can_tell(name) for name in findings
    )
    for row in sheet.rows:
        clerk.take(row)
    states = clerk.finish()
    return Labels(
        key=mapping.key.kind,
        states=states,
        problems=+clerk.problems,
        unmapped=clerk.frequent_unmapped(),
    )


class _Clerk:
    """Takes rows one by one and puts together what they say of each radiograph."""

    def __init__(
        self, titles: Sequence[str], key: str, reader: RowReader, mapping: LabelMapping
    ) -> None:
        self._num_cells, self._key_at = len(titles), titles.index(key)
        self._cells_at = tuple(titles.index(title) for title in reader.titles)
        rater = "" if reader.votes is None else plain(reader.votes.rater)
        self._rater_at = titles.index(rater) if rater in titles else None
        self._identifier, self._reader = mapping.key.identifier, reader
        self._states: dict[str, Mapping[str, str]] = {}
        self._disputed: dict[str, frozenset[str]] = {}
        self._panels: dict[str, dict[str, list[Cells]]] = {}
        self._shared: dict[tuple[str, ...], Mapping[str, str]] = {}
        self._unmapped: Counter[str] = Counter()
        self.problems = Counter(
            {LabelProblem.UNKNOWN_COLUMN: len(set(reader.idle_titles) - {key, rater})}
        )

    def take(self, row: Sequence[str]) -> None:
        """Take one row; a radiograph whose statement needs several rows waits for them."""
        if len(row) != self._num_cells:
            self.problems[LabelProblem.DAMAGED_ROW] += 1
            if any(map(str.strip, row[self._num_cells :])):
                return  # a comma too many shifts every cell after it
        identifier = self._identifier(_cell(row, self._key_at, ""))
        cells = tuple(_cell(row, place, MISSING) for place in self._cells_at)
        if not identifier:
            self.problems[LabelProblem.NO_STUDY] += 1
        elif self._reader.gathers or self._rater_at is not None:
            rater = "" if self._rater_at is None else _cell(row, self._rater_at, "")
            self._panels.setdefault(identifier, {}).setdefault(rater, []).append(cells)
        else:
            self.problems[LabelProblem.DUPLICATE_STUDY] += identifier in self._states
            self._add(identifier, self._hear((cells,)))

    def finish(self) -> Mapping[str, Mapping[str, str]]:
        """States of every radiograph, once all rows are taken."""
        votes = self._reader.votes
        for identifier, panel in self._panels.items():
            if votes is None or self._rater_at is None:
                for rows in panel.values():
                    self._add(identifier, self._hear(tuple(rows)))
            else:
                said = [self._statement(rows) for rows in panel.values()]
                self._add(identifier, voted(said, min_votes=votes.min_votes))
        return self._states

    def frequent_unmapped(self) -> Mapping[str, int]:
        """The terms that most rows say and the mapping does not know, without those of single rows."""
        often = self._unmapped.most_common(NUM_UNMAPPED_SHOWN)
        return {term: count for term, count in often if count >= MIN_ROWS_SHOWN}

    def _statement(self, rows: list[Cells]) -> Mapping[str, str]:
        """What one rater says of one radiograph."""
        if self._reader.gathers:
            return self._hear(tuple(rows))
        states: Mapping[str, str] = self._hear((rows[0],))
        for cells in rows[1:]:
            joined = agreed(states, self._hear((cells,)))
            states = joined.states
            self.problems[LabelProblem.CONFLICT] += len(joined.disputed)
        return states

    def _hear(self, rows: tuple[Cells, ...]) -> Mapping[str, str]:
        reading = self._reader.read(rows)
        self.problems[LabelProblem.CONFLICT] += reading.num_conflicts
        self.problems[LabelProblem.BAD_VALUE] += reading.num_bad_values
        self.problems[LabelProblem.UNMAPPED_TERM] += len(reading.unmapped)
        for term in map(plain, reading.unmapped):
            if len(term) <= _MAX_TERM and (
                term in self._unmapped or len(self._unmapped) < _MAX_UNMAPPED
            ):
                self._unmapped[term] += 1
        return reading.states

    def _add(self, identifier: str, states: Mapping[str, str]) -> None:
        if identifier in self._states:
            disputed = self._disputed.get(identifier, frozenset())
            rest = {name: state for name, state in states.items() if name not in disputed}
            joined = agreed(self._states[identifier], rest)
            self.problems[LabelProblem.CONFLICT] += len(joined.disputed)
            self._disputed[identifier] = disputed | joined.disputed
            states = joined.states
        # Most radiographs share their states with others: kept once, they need little memory.
        self._states[identifier] = self._shared.setdefault((*states, *states.values()), states)


def _cell(row: Sequence[str], place: int, otherwise: str) -> str:
    return row[place] if place < len(row) else otherwise

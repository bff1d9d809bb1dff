"""Reads tables that list terms: all of a radiograph in one cell, or each in a row of its own."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from client.labels.mapping import LabelMapping
from client.labels.row_reader import MISSING, REMEMBERED_ROWS, Cells, Reading, RowReader
from client.labels.states import PRESENT, UNKNOWN, Lexicon
from client.labels.words import plain, plain_code

_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def cell_reader(
    mapping: LabelMapping, titles: Sequence[str], asked: tuple[str, ...]
) -> RowReader | None:
    """The reader for a table with these plain titles; None if the list is not among them."""
    shape = mapping.cell
    if shape is None or plain(shape.column) not in titles:
        return None
    lexicon = Lexicon(mapping, None)
    told = tuple(name for name in asked if name not in shape.cannot_say and lexicon.can_tell(name))

    @lru_cache(REMEMBERED_ROWS)
    def read(rows: tuple[Cells, ...]) -> Reading:
        ((cell,),) = rows
        terms = None if cell == MISSING else _split(cell, shape.separator)
        if terms is None:
            return Reading(num_bad_values=cell != MISSING)
        silence = shape.silence if terms else shape.empty
        return _read_terms(lexicon, ((term, PRESENT) for term in terms), silence, told)

    return RowReader(titles=(plain(shape.column),), can_tell=told.__contains__, read=read)


def rows_reader(
    mapping: LabelMapping, titles: Sequence[str], asked: tuple[str, ...]
) -> RowReader | None:
    """The reader for a table with these plain titles; None if the term is not among them."""
    shape = mapping.rows
    used = () if shape is None else tuple(plain(t) for t in (shape.column, shape.value) if t)
    if shape is None or not set(used) <= set(titles):
        return None
    lexicon = Lexicon(mapping, None)
    told = tuple(name for name in asked if name not in shape.cannot_say and lexicon.can_tell(name))
    codes = {plain_code(code): str(state) for code, state in shape.codes.items()}

    @lru_cache(REMEMBERED_ROWS)
    def read(rows: tuple[Cells, ...]) -> Reading:
        whole = [cells for cells in rows if MISSING not in cells and all(map(str.strip, cells))]
        values = [plain_code(value) for _, *values in whole for value in values]
        states = [codes.get(v, UNKNOWN) for v in values] if shape.value else [PRESENT] * len(whole)
        terms = ((cells[0], state) for cells, state in zip(whole, states, strict=True))
        reading = _read_terms(lexicon, terms, shape.silence if whole else UNKNOWN, told)
        return replace(reading, num_bad_values=sum(value not in codes for value in values))

    return RowReader(
        titles=used, can_tell=told.__contains__, read=read, gathers=True, votes=shape.votes
    )


def _split(cell: str, separator: str) -> list[str] | None:
    """Terms of a list; None if it is not one."""
    if separator:
        return [term.strip() for term in cell.split(separator) if term.strip()]
    cell = cell.strip()
    if not cell or cell == "nan":
        return []
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    return [term.strip() for pair in _QUOTED.findall(cell) for term in pair if term.strip()]


def _read_terms(
    lexicon: Lexicon, terms: Iterable[tuple[str, str]], silence: str, asked: tuple[str, ...]
) -> Reading:
    heard = lexicon.listen(terms)
    if heard.is_void:
        return Reading(unmapped=heard.unmapped)
    meaning = lexicon.interpret(heard.said, silence if heard.is_complete else UNKNOWN)
    return Reading(
        states={name: meaning.states[name] for name in asked if name in meaning.states},
        num_conflicts=heard.num_conflicts + meaning.num_conflicts,
        unmapped=heard.unmapped,
    )

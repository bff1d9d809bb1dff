"""Reads tables with a column a finding and a code in each cell, as CheXpert's."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from client.labels.mapping import FindingWords, LabelMapping
from client.labels.row_reader import MISSING, REMEMBERED_ROWS, Cells, Reading, RowReader
from client.labels.shape import CodedColumns
from client.labels.states import UNKNOWN, Lexicon
from client.labels.words import plain, plain_code
from model.conditioning import FINDINGS


def columns_reader(
    mapping: LabelMapping, titles: Sequence[str], asked: tuple[str, ...]
) -> RowReader | None:
    """The reader for a table with these plain titles; None if none of them is a finding's."""
    shape = mapping.columns
    if shape is None:
        return None
    lexicon = Lexicon(_with_own_names(mapping, shape, asked), frozenset(titles))
    used = tuple(title for title in dict.fromkeys(titles) if title in lexicon.terms)
    if not used:
        return None
    codes = {plain_code(code): state for code, state in shape.codes.items()}

    @lru_cache(REMEMBERED_ROWS)
    def read(rows: tuple[Cells, ...]) -> Reading:
        (cells,) = rows
        values = {term: plain_code(cell) for term, cell in zip(used, cells, strict=True)}
        said = {term: str(codes.get(code, UNKNOWN)) for term, code in values.items() if code}
        meaning = lexicon.interpret(said, shape.blank)
        bad = (code for code in values.values() if code and code not in codes and code != MISSING)
        return Reading(
            states={name: meaning.states[name] for name in asked if name in meaning.states},
            num_conflicts=meaning.num_conflicts,
            num_bad_values=sum(1 for _ in bad),
        )

    silent = shape.other_columns + mapping.ignored + mapping.open_ended + mapping.void
    known = {*used, *map(plain, silent)}
    return RowReader(
        titles=used,
        can_tell=lexicon.can_tell,
        read=read,
        votes=shape.votes,
        idle_titles=tuple(title for title in titles if title not in known),
    )


def _with_own_names(
    mapping: LabelMapping, shape: CodedColumns, asked: tuple[str, ...]
) -> LabelMapping:
    """The mapping, with the name of a finding as the term for it where there is no other."""
    if not shape.own_names:
        return mapping
    names = [name for name in (*FINDINGS, *asked) if name not in mapping.other_findings]
    own = {name: FindingWords(present=(name,)) for name in names}
    others = tuple(name for name in dict.fromkeys(asked) if name not in FINDINGS)
    return replace(
        mapping,
        findings={**own, **mapping.findings},
        other_findings=tuple(dict.fromkeys((*mapping.other_findings, *others))),
    )

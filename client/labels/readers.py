"""The reader for a table, chosen by its titles."""

from collections.abc import Sequence

from client.labels.coded_columns import columns_reader
from client.labels.listed_terms import cell_reader, rows_reader
from client.labels.mapping import LabelMapping
from client.labels.presets import load_report_terms
from client.labels.report_text import ReportRules
from client.labels.row_reader import MISSING, Cells, Reading, RowReader
from client.labels.words import plain


def reader_for(
    mapping: LabelMapping, titles: Sequence[str], asked: tuple[str, ...]
) -> RowReader | None:
    """The reader for a table with these plain titles; None if they fit no shape of the mapping.

    Raises:
        ConfigError: the mapping names report rules that cannot be used.
    """
    for make in (rows_reader, cell_reader, columns_reader, _text_reader):
        reader = make(mapping, titles, asked)
        if reader is not None:
            return reader
    return None


def _text_reader(
    mapping: LabelMapping, titles: Sequence[str], asked: tuple[str, ...]
) -> RowReader | None:
    wanted = () if mapping.text is None else mapping.text.columns
    used = tuple(title for title in dict.fromkeys(map(plain, wanted)) if title in titles)
    if not used:
        return None
    rules = ReportRules(load_report_terms(mapping.report_terms))

    def read(rows: tuple[Cells, ...]) -> Reading:
        (cells,) = rows
        return Reading(states=rules.states([text for text in cells if text != MISSING], asked))

    return RowReader(titles=used, can_tell=rules.can_tell, read=read)

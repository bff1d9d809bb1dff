"""A file with a table -> its titles and rows, one at a time: CSV or JSON lines, plain or gzipped."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

_DELIMITERS = ",;\t"
_JSON_LINES = {".json", ".jsonl"}
_MAX_LINE = 2**22
"""Characters; a longer line is no row of a table."""
_MAX_ROW = 2**17
"""Characters in all cells of a row; more stand there only if a quotation mark was never closed."""
_NO_CSV = "it is not a table of comma-separated values"


class NoTable(ValueError):
    """The file is no table that can be used; the message says why, as the end of a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A table that is being read."""

    columns: Sequence[str]
    """Titles, as they stand there."""
    rows: Iterator[Sequence[str]]
    """Cells; more or fewer than titles in a damaged row."""


@contextmanager
def open_sheet(path: Path) -> Iterator[Sheet]:
    """Open a table for reading.

    Raises:
        OSError: it is not there, or this user may not read it.
        NoTable: it is something else, which may show only while its rows are read.
    """
    is_zipped = path.suffix.lower() == ".gz"
    ending = Path(path.stem).suffix if is_zipped else path.suffix
    sheet_of = _json_sheet if ending.lower() in _JSON_LINES else _csv_sheet
    try:
        with (
            gzip.open(path, "rt", newline="", encoding="utf-8-sig")
            if is_zipped
            else path.open(newline="", encoding="utf-8-sig")
        ) as file:
            yield sheet_of(_lines(file))
    except UnicodeDecodeError:
        raise NoTable("it is not UTF-8 text") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise NoTable("it is a gzip file that is damaged or incomplete") from None
    except (csv.Error, json.JSONDecodeError, RecursionError):
        raise NoTable(
            "it is not one JSON object a line" if sheet_of is _json_sheet else _NO_CSV
        ) from None


def _lines(file: TextIO) -> Iterator[str]:
    """Lines of bearable length, so that no file can fill the memory with one."""
    while line := file.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            raise NoTable(_NO_CSV)
        yield line


def _csv_sheet(lines: Iterator[str]) -> Sheet:
    first = next(lines, "")
    # The one of the three that stands most often between the titles.
    delimiter = max(_DELIMITERS, key=first.count)
    rows = csv.reader(chain([first], lines), delimiter=delimiter)
    return Sheet(columns=next(rows, []), rows=(_bearable(row) for row in rows if row))


def _bearable(row: list[str]) -> list[str]:
    if sum(map(len, row)) > _MAX_ROW:
        raise NoTable(_NO_CSV)
    return row


def _json_sheet(lines: Iterator[str]) -> Sheet:
    """One object a line; the first one's keys are the titles."""
    objects = (_object(line) for line in lines if line.strip())
    first = next(objects, {})
    rows = chain([first] if first else [], objects)
    return Sheet(
        columns=list(first), rows=([row.get(title, "") for title in first] for row in rows)
    )


def _object(line: str) -> dict[str, str]:
    content = json.loads(line)
    if not isinstance(content, dict):
        raise NoTable("it is not one JSON object a line")
    return {key: "" if value is None else str(value) for key, value in content.items()}

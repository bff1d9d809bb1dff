"""Finding and streaming the tables of a public set: CSV, plain or gzipped, and JSON too large to load."""

import csv
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

csv.field_size_limit(2**26)  # reports stand in some cells

_CHUNK = 2**20
_BETWEEN, _COLON = re.compile(r"[{,\s]*"), re.compile(r"[:\s]*")
_DECODER = json.JSONDecoder()


class TableDamaged(ValueError):
    """A table of a public set that breaks off or is something else."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is damaged or incomplete: download it again.")


class ColumnMissing(ValueError):
    """A table of another release, or of something else."""

    def __init__(self, path: Path, column: str) -> None:
        super().__init__(f"{path} has no column {column}: it is not the table of a known release.")


def first_existing(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of several places inside a folder that is there."""
    return next((folder / name for name in names if (folder / name).exists()), None)


def csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Mapping[str, str]]:
    """Rows of a CSV file as column -> text, one at a time; missing cells are empty.

    Raises:
        ColumnMissing: if the first line does not name all the columns that are needed.
        TableDamaged: if the file is cut off or not text.
    """
    try:
        with (
            gzip.open(path, "rt", newline="", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(newline="", encoding="utf-8-sig")
        ) as file:
            reader = csv.DictReader(file, restval="")
            absent = [column for column in columns if column not in (reader.fieldnames or ())]
            if absent:
                raise ColumnMissing(path, absent[0])
            for row in reader:
                yield {column: value or "" for column, value in row.items() if column}
    except (EOFError, UnicodeDecodeError, csv.Error, gzip.BadGzipFile) as err:
        raise TableDamaged(path) from err


def json_entries(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Entries of a file that holds one large JSON object of objects, one at a time.

    Raises:
        TableDamaged: if the file is cut off or holds something else.
    """
    text, start = "", 0
    with path.open(encoding="utf-8") as file:
        while True:
            start = _past(_BETWEEN, text, start)
            if text.startswith("}", start):
                return
            entry = _entry(text, start)
            if entry is not None:
                key, value, start = entry
                yield key, value
                continue
            more = file.read(_CHUNK)
            if not more:
                raise TableDamaged(path)
            text, start = text[start:] + more, 0


def _entry(text: str, start: int) -> tuple[str, Mapping[str, object], int] | None:
    """Key, value and where they end; None if the text breaks off before that."""
    try:
        key, end = _DECODER.raw_decode(text, start)
        value, end = _DECODER.raw_decode(text, _past(_COLON, text, end))
    except json.JSONDecodeError:
        return None
    return (key, value, end) if isinstance(value, dict) else None


def _past(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start

"""The database in one study's folder: its tables, and statements that are on the disk once they return."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS rounds (
  number INTEGER PRIMARY KEY, stage INTEGER NOT NULL, digest TEXT NOT NULL, base_digest TEXT NOT NULL,
  loss REAL, held_out_loss REAL, num_sites INTEGER NOT NULL, seconds REAL NOT NULL, committed REAL NOT NULL,
  gap REAL);
CREATE TABLE IF NOT EXISTS parts (
  number INTEGER NOT NULL, site TEXT NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, code TEXT NOT NULL,
  reason TEXT NOT NULL, loss REAL, held_out_loss REAL, seconds REAL, norm REAL, num_records INTEGER, num_files INTEGER,
  bytes_down INTEGER NOT NULL, bytes_up INTEGER NOT NULL, time REAL NOT NULL, PRIMARY KEY (number, site));
CREATE TABLE IF NOT EXISTS sites (name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS ledgers (
  site TEXT PRIMARY KEY, count INTEGER NOT NULL, digest TEXT NOT NULL, round INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def make_tables(folder: Path) -> None:
    """Make the tables that are not there yet."""
    with closing(_connect(folder)) as connection:
        connection.executescript(SCHEMA)


def execute(folder: Path, statement: str, values: tuple[object, ...]) -> None:
    """Carry out one change."""
    with closing(_connect(folder)) as connection, connection:
        connection.execute(statement, values)


def execute_all(folder: Path, statement: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Carry out one change for each row: for all of them, or for none."""
    with closing(_connect(folder)) as connection, connection:
        connection.executemany(statement, rows)


def query(folder: Path, statement: str, values: tuple[object, ...] = ()) -> list[dict[str, Any]]:
    """Every row that a question finds: name of each column to its value."""
    with closing(_connect(folder)) as connection:
        return [dict(row) for row in connection.execute(statement, values)]


def _connect(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "study.db", timeout=30)
    connection.row_factory = sqlite3.Row
    # Of all modes the one that needs no room on a full disk: neither to read, nor to say why the study waits.
    connection.execute("PRAGMA journal_mode = PERSIST")
    connection.execute("PRAGMA synchronous = FULL")
    return connection

"""What is known of every item that was read, under opaque keys, so that nothing is read twice.

A row is written in the same transaction as all others of its shard, after the shard is on the disk: whatever
kills an ingest, every record in the journal has its pixels, and only what was not yet in a finished shard is
read again. One process writes, the one that holds the cache's lock.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from client.cache.seal import Seal, SealBroken, unsealed
from client.cache.shards import Place

JOURNAL = "journal.sqlite3"
RECORD, REPORT = "record", "report"
"""Outcomes besides the reasons for refusal."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (
  key BLOB PRIMARY KEY, version BLOB NOT NULL, mirrored INTEGER NOT NULL, outcome TEXT NOT NULL,
  shard TEXT, slot INTEGER, payload BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_outcome ON items (outcome);
CREATE INDEX IF NOT EXISTS by_place ON items (shard, slot);
"""
_COLUMNS = "key, version, mirrored, outcome, shard, slot, payload"
_DURABLE = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON;
"""

_Row = tuple[bytes, bytes, int, str, str | None, int | None, bytes]


class JournalNotWritable(RuntimeError):
    """The disk does not take what should be written."""

    def __init__(self, cache_path: Path, why: str) -> None:
        super().__init__(
            f"The journal of what was read into {cache_path} cannot be used ({why}). The data manager frees "
            "space or mends the permissions of the folder, and types the same command again."
        )


class JournalDamaged(RuntimeError):
    """The journal on disk is not the one that was written."""

    def __init__(self, cache_path: Path) -> None:
        super().__init__(
            f"The journal of what was read into {cache_path} is damaged. The data manager has everything "
            "read anew by typing: fedcxr hospital ingest --rebuild"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is known of one item."""

    key: bytes
    """Stands for the item's source and name."""
    version: bytes
    """Stands for the state it was in."""
    mirrored: bool
    """Whether it is forgotten once its source no longer offers it."""
    outcome: str
    """RECORD, REPORT, or the reason why it is not used."""
    payload: bytes = field(default=b"", repr=False)
    """What else is known, in the form that the outcome implies."""
    place: Place | None = None
    """Where a record's pixels lie."""

    @property
    def context(self) -> str:
        """What the payload is sealed with: everything in the row that stands there openly."""
        place = "" if self.place is None else f"{self.place.shard}|{self.place.slot}"
        return f"item|{self.key.hex()}|{self.version.hex()}|{self.mirrored}|{self.outcome}|{place}"


class Standing(NamedTuple):
    """What became of an item, without what is known of it."""

    key: bytes
    mirrored: bool
    outcome: str


class Journal:
    """Reads and writes one stock's journal."""

    def __init__(self, folder: Path, seal: Seal) -> None:
        """Open it, or begin it.

        Raises:
            JournalDamaged: it is there and cannot be read.
        """
        self._cache_path, self._seal = folder.parent, seal
        with self._damage_noticed():
            self._connection = sqlite3.connect(folder / JOURNAL, isolation_level=None)
            self._connection.executescript(_DURABLE + _SCHEMA)
            sound = self._connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        if not sound:
            self._connection.close()
            raise JournalDamaged(self._cache_path)

    def close(self) -> None:
        """Give the file up."""
        self._connection.close()

    def fact(self, name: str) -> str:
        """A fact about the whole stock; empty if it was never set."""
        rows = self._select("SELECT value FROM facts WHERE name = ?", (name,))
        return next((str(value) for (value,) in rows), "")

    def set_facts(self, facts: Mapping[str, str]) -> None:
        """State facts, all of them or, if killed, none."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    def version_of(self, key: bytes) -> bytes | None:
        """The state in which an item was read; None if it was not."""
        rows = self._select("SELECT version FROM items WHERE key = ?", (key,))
        return next((bytes(version) for (version,) in rows), None)

    def keep(self, entries: Iterable[Entry]) -> None:
        """Write entries, all of them or, if killed, none; what was known of their items is replaced."""
        rows = [self._row(entry) for entry in entries]
        with self._transaction() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO items ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                rows,
            )

    def forget(self, keys: Iterable[bytes]) -> None:
        """Remove entries, all of them or, if killed, none."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM items WHERE key = ?", [(key,) for key in keys])

    def standing(self) -> Iterator[Standing]:
        """Every item, in the order of their keys."""
        rows = self._select("SELECT key, mirrored, outcome FROM items ORDER BY key")
        return (Standing(bytes(key), bool(mirrored), outcome) for key, mirrored, outcome in rows)

    def entries(self, outcome: str) -> Iterator[Entry]:
        """All entries with an outcome, in the order of their keys.

        Raises:
            JournalDamaged: one is not as it was written.
        """
        query = f"SELECT {_COLUMNS} FROM items WHERE outcome = ? ORDER BY key"  # noqa: S608
        return map(self._entry, self._select(query, (outcome,)))

    def entries_in(self, shard: str) -> Iterator[Entry]:
        """All records whose pixels lie in a shard, in the order of their slots."""
        query = f"SELECT {_COLUMNS} FROM items WHERE shard = ? ORDER BY slot"  # noqa: S608
        return map(self._entry, self._select(query, (shard,)))

    def num_by_shard(self) -> dict[str, int]:
        """Shards with records, and how many."""
        query = "SELECT shard, count(*) FROM items WHERE shard NOT NULL GROUP BY shard"
        return dict(self._select(query))

    def num_not_mirrored(self) -> int:
        """Records and reports that no source offers a second time."""
        query = "SELECT count(*) FROM items WHERE NOT mirrored AND outcome IN (?, ?)"
        ((count,),) = self._select(query, (RECORD, REPORT))
        return int(count)

    def _row(self, entry: Entry) -> _Row:
        shard, slot = (entry.place.shard, entry.place.slot) if entry.place else (None, None)
        sealed = self._seal.seal(entry.payload, entry.context)
        return (
            entry.key, entry.version, int(entry.mirrored), entry.outcome, shard, slot, sealed
        )  # fmt: skip

    def _entry(self, row: _Row) -> Entry:
        key, version, mirrored, outcome, shard, slot, sealed = row
        entry = Entry(
            key=bytes(key),
            version=bytes(version),
            mirrored=bool(mirrored),
            outcome=outcome,
            place=None if shard is None or slot is None else Place(shard, slot),
        )
        try:
            return replace(entry, payload=unsealed(self._seal, sealed, entry.context))
        except SealBroken:
            raise JournalDamaged(self._cache_path) from None

    def _select(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._damage_noticed():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._damage_noticed():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _damage_noticed(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as err:  # a full disk, say; its words are SQLite's own
            raise JournalNotWritable(self._cache_path, str(err)) from None
        except sqlite3.DatabaseError:
            raise JournalDamaged(self._cache_path) from None

"""One study's durable record at the coordinator: committed rounds, and each hospital's part in them.

A round is committed by writing its tensors into a folder of its own, renaming that into place, and then
inserting one row. Killed at any instant, the study continues from the last row, with the same bits.
"""

import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from federation.config import StudyConfig, parse_study, study_digest, study_json
from federation.files import hold_lock, is_locked, sync_folder, write_file
from model.arrays import (
    Arrays,
    WrongModelFile,
    digest_arrays,
    digest_of_shards,
    shard_digests,
)
from model.conditioning import NUM_SITES
from model.tensor_file import TensorFile, copy_tensors
from model.tensors import Tensors
from privacy.ledger.chain import Head
from server.records import Part, Reached, RoundRecord, Witnessed
from server.round_files import open_files, read_step, round_digest
from server.state import GlobalState

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
START = "start.safetensors"


class DamagedRound(RuntimeError):
    """A committed round's tensors are not what was committed."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"the tensors of committed round {number} have changed on disk: restore the state folder from a backup"
        )


class StudyStore:
    """Reads and writes one study's folder; only the process that holds `lock` writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = parse_study((folder / "study.json").read_text())

    @classmethod
    def create(cls, state_path: Path, study: StudyConfig) -> "StudyStore":
        """The study's folder under the coordinator's state, made if it is not there."""
        folder = study_folder(state_path, study_digest(study), study.name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("rounds", "scratch"):
            (folder / name).mkdir(exist_ok=True)
        with closing(_connect(folder)) as connection:
            connection.executescript(SCHEMA)
        write_file(folder / "study.json", study_json(study).encode())  # last: makes it a study
        return cls(folder)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the study for this process; the kernel lets go when the process dies.

        Raises:
            AlreadyRunning: if another process holds it.
        """
        return hold_lock(self.folder / "lock")

    def is_running(self) -> bool:
        """Whether a live process holds the study."""
        return is_locked(self.folder / "lock")

    def keep_start(self, weights: Arrays) -> None:
        """Keep the weights that the study starts from."""
        copy_tensors(self.folder / START, weights)

    def start_weights(self) -> Tensors | None:
        """The weights that the study starts from; None if its seed decides them, or if they were never given."""
        path = self.folder / START
        return TensorFile(path) if path.exists() else None

    def stage_start_path(self, stage: int) -> Path:
        """Where the weights lie that a stage starts from, if they are drawn anew."""
        return self.folder / f"stage-{stage}.safetensors"

    def open_round(self, number: int) -> Path:
        """An empty folder for the tensors of a round that is not committed yet."""
        folder = self.round_path(number).with_suffix(".part")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def commit(self, reached: Reached, parts: Sequence[Part], *, seconds: float) -> None:
        """Make the round in the open folder durable: tensors first, then the row that makes it count."""
        target, number = self.round_path(reached.number), reached.number
        shutil.rmtree(target, ignore_errors=True)
        sync_folder(target.with_suffix(".part"))
        target.with_suffix(".part").rename(target)
        sync_folder(target.parent)
        stage, _ = self.study.stage_of(number)
        row = (
            *(number, stage, round_digest(reached.digests), reached.base_digest),
            *(_mean([p.loss for p in parts]), _mean([p.held_out_loss for p in parts])),
            *(len(parts), seconds, time.time(), reached.gap),
        )
        self._execute("INSERT INTO rounds VALUES (?,?,?,?,?,?,?,?,?,?)", row)
        self._forget_old_rounds(number)

    def state_of(self, reached: Reached) -> GlobalState:
        """A round that was committed just now; its files are not read again."""
        files = open_files(self.round_path(reached.number))
        return self._state(self.rounds()[-1], files, reached.digests, reached.shards)

    def abandon_round(self) -> None:
        """Free the room of everything that is not committed, and of what a commit that was cut short left."""
        rounds = self.rounds()
        last = rounds[-1].number if rounds else 0
        for folder in (self.folder / "rounds").iterdir():
            if folder.suffix == ".part" or int(folder.name) > last:
                shutil.rmtree(folder, ignore_errors=True)
        if last:
            self._forget_old_rounds(last)
        for path in self.folder.glob(".*.partial"):
            path.unlink()
        self.clear_scratch()

    def load_state(self) -> GlobalState | None:
        """The last committed round, or None before the first.

        Raises:
            DamagedRound: if its tensors do not match the digest that was committed.
        """
        rounds = self.rounds()
        return self._load_round(rounds[-1]) if rounds else None

    def load_round(self, number: int) -> GlobalState:
        """A committed round that is kept.

        Raises:
            DamagedRound: if its tensors do not match the digest that was committed.
        """
        return self._load_round(next(each for each in self.rounds() if each.number == number))

    def stage_end(self, stage: int) -> GlobalState:
        """The last round of a finished stage.

        Raises:
            DamagedRound: if its tensors do not match the digest that was committed.
        """
        return self.load_round(self.study.first_round_of(stage + 1) - 1)

    def base_of(self, stage: int) -> Tensors | None:
        """The frozen model under a LoRA stage's adapter: what the stages before it made, or the study was given."""
        if stage == 0:
            return self.start_weights()
        end = self.round_path(self.study.first_round_of(stage) - 1)
        name = "average" if (end / "average.safetensors").exists() else "weights"
        return TensorFile(end / f"{name}.safetensors")

    def scratch_path(self, site: str) -> Path:
        """Where the shards of a site's change lie in the open round, if they came inside a message."""
        return self.folder / "scratch" / f"{site}.bin"

    def clear_scratch(self) -> None:
        """Forget the open round's changes."""
        for path in (self.folder / "scratch").iterdir():
            path.unlink()

    def forget_parts(self, number: int) -> None:
        """Begin an attempt at a round with no hospital's part in it."""
        self._execute("DELETE FROM parts WHERE number = ?", (number,))

    def record(self, *parts: Part) -> None:
        """Remember where hospitals stand in a round, all at once."""
        rows = [{**asdict(part), "time": time.time()} for part in parts]
        names = [field.name for field in fields(Part)]
        statement = f"INSERT OR REPLACE INTO parts ({','.join(names)}) VALUES ({','.join(f':{name}' for name in names)})"  # noqa: S608  field names
        with closing(_connect(self.folder)) as connection, connection:
            connection.executemany(statement, rows)

    def rounds(self) -> list[RoundRecord]:
        """Every committed round, in order."""
        return [RoundRecord(**row) for row in self._query("SELECT * FROM rounds ORDER BY number")]

    def parts(self) -> list[Part]:
        """Every hospital's part in every round, in order of round and site."""
        return [Part(**row) for row in self._query("SELECT * FROM parts ORDER BY number, site")]

    def number_site(self, site: str) -> int | None:
        """What stands for a hospital in conditions, given at first sight; None once all numbers are given."""
        numbers = self.site_numbers()
        if site not in numbers and len(numbers) < NUM_SITES:
            numbers[site] = len(numbers) + 1
            self._execute("INSERT INTO sites VALUES (?,?)", (site, numbers[site]))
        return numbers.get(site)

    def site_numbers(self) -> dict[str, int]:
        """Every hospital's number, in the order in which they were given."""
        rows = self._query("SELECT name, number FROM sites ORDER BY number")
        return {str(row["name"]): int(row["number"]) for row in rows}

    def witness(self, site: str, head: Head, round_number: int) -> None:
        """Remember how far a hospital's ledger went when its update came."""
        row = (site, head.count, head.digest, round_number)
        self._execute("INSERT OR REPLACE INTO ledgers VALUES (?,?,?,?)", row)

    def witnessed(self, site: str) -> Witnessed | None:
        """The last head of a hospital's ledger that was seen here."""
        rows = self._query("SELECT * FROM ledgers WHERE site = ?", (site,))
        if not rows:
            return None
        head = Head(count=int(rows[0]["count"]), digest=str(rows[0]["digest"]))
        return Witnessed(head=head, round_number=int(rows[0]["round"]))

    def set_fact(self, name: str, value: str) -> None:
        """Remember one named fact about the study, such as why it stopped."""
        self._execute("INSERT OR REPLACE INTO facts VALUES (?,?)", (name, value))

    def fact(self, name: str) -> str:
        """A named fact, or an empty string."""
        rows = self._query("SELECT value FROM facts WHERE name = ?", (name,))
        return str(rows[0]["value"]) if rows else ""

    def _load_round(self, record: RoundRecord) -> GlobalState:
        folder = self.round_path(record.number)
        try:
            files = open_files(folder)
            shards = {name: shard_digests(file) for name, file in files.items()}
        except WrongModelFile as err:
            raise DamagedRound(record.number) from err
        digests = {name: digest_of_shards(files[name].shapes, shards[name]) for name in files}
        if round_digest(digests) != record.digest:
            raise DamagedRound(record.number)
        state = self._state(record, files, digests, shards["weights"])
        if state.base is not None and digest_arrays(state.base) != state.base_digest:
            raise DamagedRound(record.number)
        return state

    def _state(
        self,
        record: RoundRecord,
        files: Mapping[str, TensorFile],
        digests: Mapping[str, str],
        shards: tuple[str, ...],
    ) -> GlobalState:
        return GlobalState(
            round_number=record.number,
            weights=files["weights"],
            digest=digests["weights"],
            shards=shards,
            momentum=files.get("momentum"),
            variance=files.get("variance"),
            average=files.get("average"),
            base=self.base_of(record.stage) if record.base_digest else None,
            base_digest=record.base_digest,
            step=read_step(self.round_path(record.number)),
        )

    def round_path(self, number: int) -> Path:
        """Where a committed round's files lie."""
        return self.folder / "rounds" / f"{number:05d}"

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        with closing(_connect(self.folder)) as connection, connection:
            connection.execute(statement, values)

    def _query(self, statement: str, values: tuple[object, ...] = ()) -> list[dict[str, Any]]:
        with closing(_connect(self.folder)) as connection:
            return [dict(row) for row in connection.execute(statement, values)]

    def _forget_old_rounds(self, current: int) -> None:
        """Keep the last two rounds and the end of every stage."""
        ends = {self.study.first_round_of(index + 1) - 1 for index in range(len(self.study.stages))}
        for folder in (self.folder / "rounds").glob("[0-9]" * 5):
            if int(folder.name) < current - 1 and int(folder.name) not in ends:
                shutil.rmtree(folder)
        for index in range(self.study.stage_of(current)[0] + 1):
            self.stage_start_path(index).unlink(missing_ok=True)


def study_folder(state_path: Path, digest: str, name: str) -> Path:
    """Where the coordinator keeps a study."""
    return state_path / "studies" / f"{name}-{digest[:12]}"


def find_study(state_path: Path, digest: str) -> StudyStore:
    """The store of the study with this digest; it was created before the run was submitted."""
    for folder in (state_path / "studies").glob(f"*-{digest[:12]}"):
        store = StudyStore(folder)
        if study_digest(store.study) == digest:
            return store
    raise FileNotFoundError(f"no study {digest[:12]} under {state_path}")


def all_studies(state_path: Path) -> list[StudyStore]:
    """Every study this coordinator knows, in order of name."""
    return [
        StudyStore(path.parent) for path in sorted((state_path / "studies").glob("*/study.json"))
    ]


def _connect(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "study.db", timeout=30)
    connection.row_factory = sqlite3.Row
    # Of all modes the one that needs no room on a full disk: neither to read, nor to say why the study waits.
    connection.execute("PRAGMA journal_mode = PERSIST")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and value == value]  # noqa: PLR0124  NaN
    return sum(known) / len(known) if known else None

"""One study's durable record at the coordinator: committed rounds, and each hospital's part in them.

A round is committed by writing its tensors into a folder of its own, renaming that into place, and then
inserting one row. Killed at any instant, the study continues from the last row, with the same bits.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from pathlib import Path

from federation.config import StudyConfig, parse_study, study_digest, study_json
from federation.files import hold_lock, is_locked, write_file
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
from server.round_folders import (
    open_part,
    remove_old,
    remove_unsettled,
    round_folder,
    settle_part,
)
from server.state import GlobalState
from server.study_database import execute, execute_all, make_tables, query

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
        make_tables(folder)
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
        return open_part(self.round_path(number))

    def commit(self, reached: Reached, parts: Sequence[Part], *, seconds: float) -> None:
        """Make the round in the open folder durable: tensors first, then the row that makes it count."""
        number = reached.number
        settle_part(self.round_path(number))
        stage, _ = self.study.stage_of(number)
        row = (
            *(number, stage, round_digest(reached.digests), reached.base_digest),
            *(_mean([p.loss for p in parts]), _mean([p.held_out_loss for p in parts])),
            *(len(parts), seconds, time.time(), reached.gap),
        )
        execute(self.folder, "INSERT INTO rounds VALUES (?,?,?,?,?,?,?,?,?,?)", row)
        self._forget_old_rounds(number)

    def state_of(self, reached: Reached) -> GlobalState:
        """A round that was committed just now; its files are not read again."""
        files = open_files(self.round_path(reached.number))
        return self._state(self.rounds()[-1], files, reached.digests, reached.shards)

    def abandon_round(self) -> None:
        """Free the room of everything that is not committed, and of what a commit that was cut short left."""
        rounds = self.rounds()
        last = rounds[-1].number if rounds else 0
        remove_unsettled(self.folder / "rounds", last)
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
        execute(self.folder, "DELETE FROM parts WHERE number = ?", (number,))

    def record(self, *parts: Part) -> None:
        """Remember where hospitals stand in a round, all at once."""
        rows = [{**asdict(part), "time": time.time()} for part in parts]
        names = [field.name for field in fields(Part)]
        statement = f"INSERT OR REPLACE INTO parts ({','.join(names)}) VALUES ({','.join(f':{name}' for name in names)})"  # noqa: S608  field names
        execute_all(self.folder, statement, rows)

    def rounds(self) -> list[RoundRecord]:
        """Every committed round, in order."""
        return [
            RoundRecord(**row) for row in query(self.folder, "SELECT * FROM rounds ORDER BY number")
        ]

    def parts(self) -> list[Part]:
        """Every hospital's part in every round, in order of round and site."""
        return [
            Part(**row) for row in query(self.folder, "SELECT * FROM parts ORDER BY number, site")
        ]

    def number_site(self, site: str) -> int | None:
        """What stands for a hospital in conditions, given at first sight; None once all numbers are given."""
        numbers = self.site_numbers()
        if site not in numbers and len(numbers) < NUM_SITES:
            numbers[site] = len(numbers) + 1
            execute(self.folder, "INSERT INTO sites VALUES (?,?)", (site, numbers[site]))
        return numbers.get(site)

    def site_numbers(self) -> dict[str, int]:
        """Every hospital's number, in the order in which they were given."""
        rows = query(self.folder, "SELECT name, number FROM sites ORDER BY number")
        return {str(row["name"]): int(row["number"]) for row in rows}

    def witness(self, site: str, head: Head, round_number: int) -> None:
        """Remember how far a hospital's ledger went when its update came."""
        row = (site, head.count, head.digest, round_number)
        execute(self.folder, "INSERT OR REPLACE INTO ledgers VALUES (?,?,?,?)", row)

    def witnessed(self, site: str) -> Witnessed | None:
        """The last head of a hospital's ledger that was seen here."""
        rows = query(self.folder, "SELECT * FROM ledgers WHERE site = ?", (site,))
        if not rows:
            return None
        head = Head(count=int(rows[0]["count"]), digest=str(rows[0]["digest"]))
        return Witnessed(head=head, round_number=int(rows[0]["round"]))

    def set_fact(self, name: str, value: str) -> None:
        """Remember one named fact about the study, such as why it stopped."""
        execute(self.folder, "INSERT OR REPLACE INTO facts VALUES (?,?)", (name, value))

    def fact(self, name: str) -> str:
        """A named fact, or an empty string."""
        rows = query(self.folder, "SELECT value FROM facts WHERE name = ?", (name,))
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
        return round_folder(self.folder / "rounds", number)

    def _forget_old_rounds(self, current: int) -> None:
        """Keep the last two rounds and the end of every stage."""
        ends = {self.study.first_round_of(index + 1) - 1 for index in range(len(self.study.stages))}
        remove_old(self.folder / "rounds", current, ends)
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


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and value == value]  # noqa: PLR0124  NaN
    return sum(known) / len(known) if known else None

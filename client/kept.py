"""What a hospital keeps of a study: finished updates, the optimizer's state, received weights.

An update is complete on disk before it is sent. Asked again after a crash or a lost connection, the hospital
sends the same bytes; it never trains the same round twice.
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from client.config import SiteConfig
from client.packing import CHANGE, RESIDUAL
from federation.files import hold_lock, sync_folder
from federation.messages import Update
from federation.parcel import Parcel, Unpacked, shards_in_file
from model.arrays import Arrays, load_arrays, replacing
from model.tensor_file import TensorFile, copy_tensors
from model.tensors import InMemory, Tensors
from privacy.ledger.chain import Head

NUM_KEPT_ROUNDS = 2
UPDATE, OPTIMIZER = "update.json", "optimizer.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What an update answers, as far as it decides whether the update may leave."""

    study: str
    """The study as canonical JSON."""
    base_digest: str
    """Of the frozen model under an adapter; empty in a full stage."""
    trained: tuple[str, ...]
    """Names of the tensors that trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """An update as it lies on the disk."""

    update: Update
    """Without its change's shards."""
    asked: Asked
    path: Path
    """File of the change's shards, one after the other."""

    @property
    def change(self) -> Unpacked:
        """The change as its shards say it, read as it is needed."""
        return Unpacked(self.update.change, shards_in_file(self.update.change, self.path))

    def ready(self, inline_bytes: int) -> Update:
        """The update as it is sent: with its change's shards, if they are few bytes."""
        if self.update.change.num_bytes > inline_bytes:
            return self.update
        return replace(self.update, content=self.path.read_bytes())


class KeptRounds:
    """One study's folder under a hospital's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def received(self) -> Path:
        """Folder of what the coordinator sent."""
        return self.folder / "received"

    def lock(self) -> AbstractContextManager[None]:
        """Be the only process that trains for this study."""
        return hold_lock(self.folder / "lock", patience_seconds=math.inf)

    def delivery_lock(self) -> AbstractContextManager[None]:
        """Be the only process that leaves this study's shards anywhere."""
        return hold_lock(self.folder / "delivery.lock", patience_seconds=math.inf)

    def find(self, round_number: int, received_digest: str) -> Finished | None:
        """The finished update of a round, if it was trained from these very weights."""
        found = self.read(round_number)
        return found if found and found.update.received_digest == received_digest else None

    def read(self, round_number: int) -> Finished | None:
        """The finished update of a round."""
        return read_finished(self.round_path(round_number))

    @contextmanager
    def new_round(self, round_number: int) -> Iterator[Path]:
        """Give a folder for a finished round, and put it in place: complete, with one rename."""
        target = self.round_path(round_number)
        partial, obsolete = target.with_suffix(".part"), target.with_suffix(".old")
        for leftover in self.folder.glob("round-*.*"):  # of a process that was killed
            shutil.rmtree(leftover)
        partial.mkdir(parents=True)
        yield partial
        if target.exists():  # trained from other weights
            target.rename(obsolete)
        partial.rename(target)
        sync_folder(target.parent)
        shutil.rmtree(obsolete, ignore_errors=True)
        self._forget_before(round_number)

    def optimizer_state(self, round_number: int, *, first: int) -> Arrays:
        """The optimizer's state after the last round trained before this one; empty if there is none.

        Args:
            round_number: The round to train.
            first: The first round that may hand its state on.
        """
        last = self._last_before(round_number, first=first)
        return {} if last is None else load_arrays(last / OPTIMIZER)

    def residual(self, round_number: int, *, first: int) -> Tensors:
        """What rounding took from changes until this round; arguments as for ``optimizer_state``."""
        last = self._last_before(round_number, first=first)
        path = None if last is None else last / RESIDUAL
        return TensorFile(path) if path and path.exists() else InMemory({})

    def forget_changes_before(self, round_number: int) -> None:
        """Give back the room of changes that the coordinator has, as it asks for a later round."""
        for number in self._numbers():
            if number < round_number:
                (self.round_path(number) / CHANGE).unlink(missing_ok=True)

    def round_path(self, number: int) -> Path:
        """Folder of one finished round."""
        return self.folder / f"round-{number:05d}"

    def _last_before(self, round_number: int, *, first: int) -> Path | None:
        earlier = [number for number in self._numbers() if first <= number < round_number]
        return self.round_path(max(earlier)) if earlier else None

    def _numbers(self) -> list[int]:
        return [int(path.name[6:]) for path in self.folder.glob("round-" + "[0-9]" * 5)]

    def _forget_before(self, current: int) -> None:
        for number in self._numbers():
            if number <= current - NUM_KEPT_ROUNDS:
                shutil.rmtree(self.round_path(number))


def study_folder(site: SiteConfig, study_digest: str) -> Path:
    """Where everything of one study is kept."""
    return site.state_path / "studies" / study_digest[:12]


def write_finished(folder: Path, update: Update, asked: Asked, optimizer_state: Arrays) -> None:
    """Fill a round's folder, in which the change's shards lie already; the description comes last."""
    copy_tensors(folder / OPTIMIZER, optimizer_state)
    fields = {**asdict(update), "change": update.change.description}
    content = {"update": fields, "asked": asdict(asked)}
    with replacing(folder / UPDATE) as path:
        path.write_text(json.dumps(content))


def read_finished(folder: Path) -> Finished | None:
    """What lies in a round's folder; None if it is not there, or its change is there no more."""
    if not (folder / UPDATE).exists() or not (folder / CHANGE).exists():
        return None
    content = json.loads((folder / UPDATE).read_text())
    fields, asked = content["update"], content["asked"]
    parcel, ledger = Parcel.from_description(fields.pop("change")), fields.pop("ledger")
    return Finished(
        update=Update(
            **fields,
            change=parcel,
            ledger=Head(**ledger) if ledger else None,
        ),
        asked=Asked(**asked | {"trained": tuple(asked["trained"])}),
        path=folder / CHANGE,
    )

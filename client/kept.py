"""What a hospital keeps of a study: finished updates, the optimizer's state, the frozen model.

An update is complete on disk before it is sent. Asked again after a crash or a lost connection, the hospital
sends the same bytes; it never trains the same round twice.
"""

import json
import math
import shutil
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from federation.files import hold_lock, sync_folder
from federation.messages import Update
from model.arrays import Arrays, load_arrays, replacing, save_arrays
from privacy.ledger.chain import Head

NUM_KEPT_ROUNDS = 2


class KeptRounds:
    """One study's folder under a hospital's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def lock(self) -> AbstractContextManager[None]:
        """Be the only process that trains for this study."""
        return hold_lock(self.folder / "lock", patience_seconds=math.inf)

    def find(self, round_number: int, received_digest: str) -> Update | None:
        """The finished update of a round, if it was trained from these very weights."""
        folder = self._round(round_number)
        if not (folder / "update.json").exists():
            return None
        header = json.loads((folder / "update.json").read_text())
        if header["received_digest"] != received_digest:
            return None
        ledger = header.pop("ledger", None)
        return Update(
            **header,
            ledger=Head(**ledger) if ledger else None,
            change=load_arrays(folder / "change.safetensors"),
        )

    def keep(self, update: Update, optimizer_state: Arrays) -> None:
        """Put a finished update on disk: complete, then in place with one rename."""
        target = self._round(update.round_number)
        partial, obsolete = target.with_suffix(".part"), target.with_suffix(".old")
        for leftover in self.folder.glob("round-*.*"):  # of a process that was killed
            shutil.rmtree(leftover)
        partial.mkdir(parents=True)
        save_arrays(partial / "change.safetensors", update.change, {})
        save_arrays(partial / "optimizer.safetensors", optimizer_state, {})
        header = {name: value for name, value in asdict(update).items() if name != "change"}
        with replacing(partial / "update.json") as path:
            path.write_text(json.dumps(header))
        if target.exists():  # trained from other weights
            target.rename(obsolete)
        partial.rename(target)
        sync_folder(target.parent)
        shutil.rmtree(obsolete, ignore_errors=True)
        self._forget_before(update.round_number)

    def optimizer_state(self, round_number: int, *, first: int) -> Arrays:
        """The optimizer's state after the last round trained before this one; empty if there is none.

        Args:
            round_number: The round to train.
            first: The first round that may hand its state on.
        """
        earlier = [number for number in self._numbers() if first <= number < round_number]
        if not earlier:
            return {}
        return load_arrays(self._round(max(earlier)) / "optimizer.safetensors")

    def keep_base(self, digest: str, base: Arrays) -> None:
        """Keep the frozen model under its digest."""
        save_arrays(self.base_path(digest), base, {})

    def base_path(self, digest: str) -> Path:
        """Where a frozen model lies, if it was kept before."""
        return self.folder / f"base-{digest}.safetensors"

    def _round(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}"

    def _numbers(self) -> list[int]:
        return [int(path.name[6:]) for path in self.folder.glob("round-" + "[0-9]" * 5)]

    def _forget_before(self, current: int) -> None:
        for number in self._numbers():
            if number <= current - NUM_KEPT_ROUNDS:
                shutil.rmtree(self._round(number))

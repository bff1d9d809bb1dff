"""Boxes on the disk: what hospitals may leave, what they have left, what of that is whole.

A box says beforehand which shards it takes, so that nobody can fill the disk with anything else. A shard lies in it
under its number once it is whole and verified; before that, what came of it ends in ``.part``.

Shards are used within the minute and dropped, and their hospital keeps them until the round is committed: nobody waits
for the disk to have them. That outlives the death of every process. What may not outlive is the machine's own: so a box
counts only until the machine starts anew, and its shards are left once more.
"""

import json
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from federation.files import make_private_folder, sync_folder, write_file
from server.blobs.names import check_space, shard_name

NOTE_NAME = "box.json"
PART_SUFFIX = ".part"
GONE_PREFIX = ".gone."


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A shard that may be left, and where it goes."""

    folder: Path
    number: int
    size: int
    digest: str
    """SHA-256, 64 hexadecimal digits."""

    @property
    def path(self) -> Path:
        """Where it lies once it is whole."""
        return self.folder / shard_name(self.number)

    @property
    def part_path(self) -> Path:
        """Where what came of it lies before."""
        return self.path.with_name(self.path.name + PART_SUFFIX)

    def offset(self) -> int:
        """Bytes that are there; as many as its size only once it is whole and verified."""
        if self.path.exists():
            return self.size
        try:
            return min(self.part_path.stat().st_size, self.size - 1)
        except FileNotFoundError:
            return 0


class Boxes:
    """All boxes of one coordinator; any process may look, drop and forget at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, space: str, *, sizes: Sequence[int], digests: Sequence[str]) -> None:
        """Take these shards from now on; what came of the same shards stays, what came of others goes."""
        note = _note(sizes, digests, boot_id())
        path = self.folder(check_space(space)) / NOTE_NAME
        if path.exists() and path.read_bytes() != note:
            self._put_away(path.parent)
        if not path.exists():
            write_file(path, note)
            sync_folder(self._folder)

    def expected(self, space: str, number: int) -> Expected | None:
        """What the box takes under this number; None if it takes nothing there, is closed, or counts no more."""
        folder = self.folder(space)
        try:
            note = json.loads((folder / NOTE_NAME).read_bytes())
        except FileNotFoundError:
            return None
        sizes, digests = note["sizes"], note["digests"]
        if number >= len(sizes) or note.get("boot") != boot_id():
            return None
        return Expected(folder=folder, number=number, size=sizes[number], digest=digests[number])

    def arrived(
        self, space: str, *, sizes: Sequence[int], digests: Sequence[str]
    ) -> frozenset[int]:
        """Numbers of those of these shards that are whole and verified."""
        folder = self.folder(space)
        try:
            if (folder / NOTE_NAME).read_bytes() != _note(sizes, digests, boot_id()):
                return frozenset()
        except FileNotFoundError:
            return frozenset()
        numbers = range(len(sizes))
        return frozenset(number for number in numbers if (folder / shard_name(number)).exists())

    def drop(self, space: str, shards: Iterable[int]) -> None:
        """Free the room of these shards; the box takes them again."""
        for number in shards:
            path = self.folder(space) / shard_name(number)
            # In this order: an upload that ends now finds its part gone, or its whole shard goes next.
            path.with_name(path.name + PART_SUFFIX).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def forget(self, prefix: str) -> None:
        """Close and empty every box whose name begins so."""
        for box in self._listed():
            if box.name.startswith(prefix):
                self._put_away(box)
        self.sweep()

    def names(self) -> list[str]:
        """Of everything that lies here."""
        return [box.name for box in self._listed()]

    def sweep(self) -> None:
        """Finish emptying what was closed, if that was interrupted."""
        for box in self._listed():
            if box.name.startswith(GONE_PREFIX):
                shutil.rmtree(box, ignore_errors=True)

    def folder(self, space: str) -> Path:
        """Where a box lies."""
        return self._folder / space

    def _put_away(self, box: Path) -> None:
        """Close in one step, then empty: a box is never half there."""
        gone = self._folder / f"{GONE_PREFIX}{uuid.uuid4().hex}"
        box.rename(gone)
        sync_folder(self._folder)
        shutil.rmtree(gone, ignore_errors=True)

    def _listed(self) -> list[Path]:
        make_private_folder(self._folder)
        return sorted(self._folder.iterdir())


@cache
def boot_id() -> str:
    """Another word after every start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return str(int(psutil.boot_time()))


def _note(sizes: Sequence[int], digests: Sequence[str], boot: str) -> bytes:
    return json.dumps({"sizes": list(sizes), "digests": list(digests), "boot": boot}).encode()


def boxes_path(state_path: Path) -> Path:
    """Where boxes lie in a coordinator's state folder."""
    return state_path / "blobs" / "boxes"

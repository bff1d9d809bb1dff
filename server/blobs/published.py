"""Files whose parts hospitals may fetch: a note for each says where its shards lie; nothing is copied."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from federation.files import write_file
from server.blobs.names import check_space


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the bytes of one shard are."""

    path: Path
    start: int
    """First byte in the file."""
    size: int


class Published:
    """The notes, one small file for each space."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def publish(self, space: str, path: Path, start: int, sizes: Sequence[int]) -> None:
        """Offer the shards that lie one after the other in a file, from a position on."""
        note = {"path": str(path.resolve()), "start": start, "sizes": list(sizes)}
        content = json.dumps(note).encode()
        target = self._path(check_space(space))
        if not target.exists() or target.read_bytes() != content:
            write_file(target, content)

    def place(self, space: str, number: int) -> Place | None:
        """Where a shard lies; None if nobody offers it, or its file is gone."""
        try:
            note = json.loads(self._path(space).read_bytes())
            path = Path(note["path"])
            there = path.stat().st_size
        except FileNotFoundError:
            return None
        sizes = note["sizes"]
        if number >= len(sizes):
            return None
        start = note["start"] + sum(sizes[:number])
        if start + sizes[number] > there:
            return None
        return Place(path=path, start=start, size=sizes[number])

    def forget(self, prefix: str) -> None:
        """Offer nothing any more of which the space's name begins so; the files stay."""
        for note in _listed(self._folder):
            # A writer that was killed leaves a draft: a dot before the name, more behind it.
            space = note.name.removeprefix(".").rpartition(".json")[0]
            if space.startswith(prefix):
                note.unlink(missing_ok=True)

    def _path(self, space: str) -> Path:
        return self._folder / f"{space}.json"


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def published_path(state_path: Path) -> Path:
    """Where the notes lie in a coordinator's state folder."""
    return state_path / "blobs" / "published"

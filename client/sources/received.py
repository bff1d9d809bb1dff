"""The folder between receiver and ingest: whole files under opaque names, until they are settled."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from client.sources.item import Item, ItemLost
from federation.files import write_file

_NAME = re.compile(r"[0-9a-f]{32}\.dcm")


class ReceivedSource:
    """Everything that was received and is not settled yet."""

    origin = "received"
    mirrored = False

    def __init__(self, spool: Path) -> None:
        self._spool = spool

    def items(self) -> Iterator[Item]:
        """All whole files, sorted by name; none before the receiver first runs."""
        for path in waiting_files(self._spool):
            version = _version_of(path)
            if version:
                yield Item(name=path.name, version=version)

    def file_of(self, item: Item, scratch: Path) -> Path:  # noqa: ARG002  the file is there already
        """The file itself.

        Raises:
            ItemLost: somebody removed it.
        """
        path = self._spool / item.name
        if not path.exists():
            raise ItemLost("A received file went away before it was read.")
        return path

    def settled(self, item: Item) -> None:
        """Remove the file, unless the PACS has sent the radiograph anew since it was offered."""
        path = self._spool / item.name
        if _version_of(path) == item.version:
            path.unlink(missing_ok=True)


def received_path(state_path: Path) -> Path:
    """Where in a hospital's state folder received files wait."""
    return state_path / "received"


def keep_received(spool: Path, key: bytes, content: bytes) -> None:
    """Put a whole file where the ingest will find it; on return it is on the disk.

    Args:
        spool: the waiting files.
        key: 16 opaque bytes, the same whenever the same radiograph is sent, so that it waits only once.
        content: the file.

    Raises:
        OSError: nothing was kept.
    """
    write_file(spool / f"{key.hex()}.dcm", content)


def remove_drafts(spool: Path) -> None:
    """Remove what a killed receiver had begun to write; only for the one receiver that runs."""
    for draft in spool.glob(".*.dcm.*"):
        draft.unlink(missing_ok=True)


def waiting_files(spool: Path) -> list[Path]:
    """The whole files, sorted by name."""
    try:
        return sorted(path for path in spool.iterdir() if _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def waiting_bytes(spool: Path) -> int:
    """Size of everything that waits."""
    return sum(status.st_size for status in map(_status_of, waiting_files(spool)) if status)


def _version_of(path: Path) -> str:
    """Changes when the file is sent anew; empty for what is gone or was never a received file."""
    status = _status_of(path)
    return f"{status.st_size}-{status.st_mtime_ns}" if status else ""


def _status_of(path: Path) -> os.stat_result | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None

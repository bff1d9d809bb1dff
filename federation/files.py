"""Small files that are the old ones or the new ones, never half of either, whatever stops the writer."""

import contextlib
import fcntl
import glob
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

LOCK_PATIENCE_SECONDS = 0.5
DRAFT_SUFFIX = ".writing"


class AlreadyRunning(RuntimeError):
    """Another process already works on this folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.parent} is in use by a running fedcxr process: stop that one first, or use another folder."
        )


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file in one step and wait until it is on the disk; its folder is made if missing.

    Drafts of the same file go that a killed process left: a write that was cut off is made once more by whoever follows.
    """
    make_private_folder(path.parent)
    _remove_abandoned_drafts(path)
    draft, file = _new_draft(path)
    with file:
        try:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _new_draft(path: Path) -> tuple[Path, BinaryIO]:
    """An empty file beside the one to be written, locked until it is closed."""
    while True:
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=DRAFT_SUFFIX
        )
        file = os.fdopen(descriptor, "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return Path(name), file
        file.close()  # between its making and its lock somebody took it for abandoned


def _remove_abandoned_drafts(path: Path) -> None:
    """Remove drafts of a file that nobody holds any more: the system lets go of a lock with its last holder."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*{DRAFT_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError, PermissionError), draft.open("rb") as file:
            if _acquire(file.fileno(), patience_seconds=0.0):
                draft.unlink(missing_ok=True)


def make_private_folder(path: Path) -> Path:
    """Make a folder that only its owner can enter; one that exists keeps its permissions."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def hold_lock(path: Path, *, patience_seconds: float = LOCK_PATIENCE_SECONDS) -> Iterator[None]:
    """Be the only process that works on a folder; the system lets go when the process dies.

    Raises:
        AlreadyRunning: if another holder does not let go in time.
    """
    make_private_folder(path.parent)
    with path.open("ab") as file:
        if not _acquire(file.fileno(), patience_seconds=patience_seconds):
            raise AlreadyRunning(path)
        yield


def is_locked(path: Path) -> bool:
    """Whether some living process holds the lock."""
    try:
        with path.open("rb") as file:
            return not _acquire(file.fileno(), patience_seconds=0.0, kind=fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _acquire(descriptor: int, *, patience_seconds: float, kind: int = fcntl.LOCK_EX) -> bool:
    """Have the lock in time; shared, it is in nobody's way but a holder's."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def sync_folder(path: Path) -> None:
    """Have the operating system bring the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

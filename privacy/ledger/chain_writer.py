"""The one process that may add to a chain: it holds the file's lock, and what it added is on the disk.

The system lets go of the lock when the process dies. Whoever opens a chain first brings to the disk what a killed
process wrote but may not have brought there, so that nothing is ever relied on that a power cut could still take.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privacy.ledger.chain import Head, Record, parse_chain

PATIENCE_SECONDS = 0.5


class ChainInUse(RuntimeError):
    """Another process may write."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is in use by another fedcxr process: wait until that one is done, then try again"
        )


class ChainDisturbed(RuntimeError):
    """The file is no longer the one that was opened, or a record may be half written."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was replaced, changed or only half written while it was open: nothing more is written to it; "
            "the hospital's IT keeps other programs away from it and starts this command again"
        )


class ChainWriter:
    """An open chain; `open_chain` makes it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor, self._is_whole = path, descriptor, True
        self.chain = parse_chain(_content(descriptor), path)
        self._mend()

    def append(self, record: Record) -> Head:
        """Add one record; it is on the disk when this returns.

        Raises:
            ChainDisturbed: the file is not as this writer left it; nothing was added.
            OSError: the disk did not take it. This writer adds nothing any more; the next one mends the file.
        """
        if not self._is_whole or not self._is_untouched():
            raise ChainDisturbed(self._path)
        grown, line = self.chain.grown_by(record)
        self._is_whole = False
        _write(self._descriptor, line)
        os.fsync(self._descriptor)
        self._is_whole = True
        self.chain = grown
        return grown.head

    def _mend(self) -> None:
        """Drop the beginning of a line, or end the last one, and bring all to the disk."""
        if self.chain.torn:
            os.ftruncate(self._descriptor, self.chain.num_bytes)
        if self.chain.unended:
            _write(self._descriptor, b"\n")
        os.fsync(self._descriptor)
        _sync_folder(self._path.parent)
        self.chain = parse_chain(_content(self._descriptor), self._path)

    def _is_untouched(self) -> bool:
        """Whether the path still leads to the open file, and nobody else has written to it."""
        try:
            there = self._path.stat()
        except OSError:
            return False
        return _same_file(there, self._descriptor) and there.st_size == self.chain.num_bytes


@contextmanager
def open_chain(path: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[ChainWriter]:
    """Be the only one who adds to a chain; the file is made if missing, readable by its owner alone.

    Raises:
        ChainInUse: another writer does not let go in time.
        ChainDamaged: the file is not what was written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(descriptor, patience_seconds):
            raise ChainInUse(path)
        if not _same_file(path.stat(), descriptor):  # replaced while this one waited
            raise ChainDisturbed(path)
        yield ChainWriter(path, descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _same_file(there: os.stat_result, descriptor: int) -> bool:
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _content(descriptor: int) -> bytes:
    """All bytes, from the first."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def _write(descriptor: int, content: bytes) -> None:
    """All bytes, at the end of the file."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_folder(path: Path) -> None:
    """Have the operating system bring the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

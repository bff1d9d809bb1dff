"""A shard as it comes: bytes are added to a file and hashed on the way; it gets its name when it is whole.

Everything here waits for the disk: the caller runs it in a thread.
"""

import hashlib
import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Self

from server.blobs.boxes import Expected

READ_BYTES = 2**18


class Part:
    """The beginning of one shard, open for more. One caller at a time has it."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._file = _open(expected.part_path)
        self._hash = hashlib.sha256()
        self.length = os.fstat(self._file.fileno()).st_size
        """Bytes that are there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; what came stays."""
        self._file.close()

    def hash_again(self) -> None:
        """Read what came before, so that the digest of the whole can go on from there."""
        self._file.seek(0)
        left = self.length
        while left and (block := self._file.read(min(READ_BYTES, left))):
            self._hash.update(block)
            left -= len(block)

    def append(self, chunks: Sequence[bytes]) -> None:
        """Add bytes at the end.

        Raises:
            OSError: if the disk takes no more; what it took before stays.
        """
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                written = self._file.write(left)
                self.length += written
                left = left[written:]
            self._hash.update(chunk)

    def take_back(self, length: int) -> None:
        """Keep only the first bytes; nothing more can be added after."""
        self._file.truncate(length)
        self.length = length

    def settle(self) -> bool:
        """Whether the bytes are the shard; if so it lies under its name, if not they are gone.

        Raises:
            FileNotFoundError: if the box was emptied or closed in the meantime.
        """
        expected = self._expected
        if self._hash.hexdigest() != expected.digest:
            expected.part_path.unlink(missing_ok=True)
            return False
        expected.part_path.rename(expected.path)
        return True


def finish(expected: Expected) -> bool:
    """Whether a shard is whole. A part that lacks nothing but its name gets it: its writer was killed just then."""
    if expected.path.exists():
        return True
    part = expected.part_path
    if not part.exists() or part.stat().st_size < expected.size:
        return False
    with Part(expected) as full:
        full.hash_again()
        return full.settle()


def _open(path: Path) -> FileIO:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    return FileIO(descriptor, "r+b")

"""Pictures in files of sealed records, all of one length, written once and never changed.

A shard appears under its random name with a single rename, complete and on the disk. A record is found by
its slot: its pixels are sealed for this stock, this shard and this slot, and checked whenever they are read.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache.layout import DRAFT_PREFIX, SHARD_SUFFIX, CacheDamaged
from client.cache.seal import Seal, SealBroken
from federation.files import sync_folder

MAX_RECORDS = 1024
MAX_BYTES = 2**28
"""Of pixels. A shard is what a killed ingest loses at most, and what one opened file holds."""
PIXEL = np.dtype("<u2")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a picture lies in a stock."""

    shard: str
    slot: int


def records_per_shard(image_size: int) -> int:
    """How many pictures of a size make a full shard."""
    return max(1, min(MAX_RECORDS, MAX_BYTES // (image_size * image_size * PIXEL.itemsize)))


class ShardWriter:
    """One shard in the making: a draft until it is finished."""

    def __init__(self, folder: Path, seal: Seal) -> None:
        self.name = secrets.token_hex(8) + SHARD_SUFFIX
        self.num_records = self._num_bytes = 0
        self._folder, self._seal = folder, seal
        self._draft = folder / f"{DRAFT_PREFIX}{self.name}"
        self._file = self._draft.open("xb")

    def add(self, image: NDArray[np.uint16]) -> Place:
        """Append a picture, (image_size, image_size)."""
        place = Place(self.name, self.num_records)
        content = np.ascontiguousarray(image, PIXEL).tobytes()
        sealed = self._seal.seal(content, _context(self._folder, place))
        self._file.write(sealed)
        self._num_bytes += len(sealed)
        self.num_records += 1
        return place

    def finish(self) -> None:
        """Put the shard in place, on the disk for good."""
        self._file.truncate(self._num_bytes)  # an interrupted write may have left part of a record
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._draft.rename(self._folder / self.name)
        sync_folder(self._folder)

    def discard(self) -> None:
        """Leave no trace of an unfinished shard."""
        self._file.close()
        self._draft.unlink(missing_ok=True)


class Shard:
    """One finished shard, mapped into memory."""

    def __init__(self, cache_path: Path, path: Path, image_size: int, seal: Seal) -> None:
        """Map the file.

        Raises:
            CacheDamaged: it is missing or not a whole number of records long.
        """
        self.name, self.image_size = path.name, image_size
        self._cache_path, self._folder, self._seal = cache_path, path.parent, seal
        length = image_size * image_size * PIXEL.itemsize + seal.num_extra_bytes
        try:
            content = np.memmap(path, np.uint8, mode="r")
        except FileNotFoundError:
            raise
        except (OSError, ValueError):
            raise CacheDamaged(cache_path, f"{self.name} cannot be opened") from None
        if len(content) % length:
            raise CacheDamaged(cache_path, f"{self.name} is not complete")
        self._records = content.reshape(-1, length)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._records)

    def read_into(self, out: NDArray[np.uint16], slot: int) -> None:
        """Put a picture into an array (image_size, image_size).

        Raises:
            CacheDamaged: the picture is not what was written there.
        """
        context = _context(self._folder, Place(self.name, slot))
        try:
            sealed = memoryview(self._records[slot])
            self._seal.unseal_into(out.view(np.uint8).reshape(-1).data, sealed, context)
        except SealBroken:
            raise CacheDamaged(
                self._cache_path, f"a radiograph in {self.name} is not as it was written"
            ) from None


def _context(folder: Path, place: Place) -> str:
    return f"picture|{folder.name}|{place.shard}|{place.slot}"

"""Entries and pictures into a stock, a batch at a time: first the pixels for good, then what is known of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from client.cache.journal import Entry
from client.cache.shards import ShardWriter, records_per_shard
from client.cache.stock import Stock

MAX_ENTRIES = 4096
"""Written together at most, with or without pixels."""

OnKept = Callable[[Sequence[Entry]], None]
"""Called with entries once they are on the disk for good."""


class StockWriter:
    """Collects entries, and writes them whenever a shard is full."""

    def __init__(self, stock: Stock, on_kept: OnKept | None) -> None:
        self._stock, self._on_kept = stock, on_kept
        self._shard: ShardWriter | None = None
        self._entries: list[Entry] = []

    @property
    def has_open_shard(self) -> bool:
        """Whether the next picture goes into a shard that is begun already."""
        return self._shard is not None

    def add(self, entry: Entry, image: NDArray[np.uint16] | None = None) -> None:
        """Take an entry, and its picture (image_size, image_size) if it is a record's."""
        if image is not None:
            self._shard = self._shard or ShardWriter(self._stock.folder, self._stock.seal)
            entry = replace(entry, place=self._shard.add(image))
        self._entries.append(entry)
        num_pictures = self._shard.num_records if self._shard else 0
        is_full = num_pictures == records_per_shard(self._stock.image_size)
        if is_full or len(self._entries) == MAX_ENTRIES:
            self.write()

    def write(self) -> None:
        """Bring everything taken so far to the disk."""
        entries, self._entries = self._entries, []
        shard, self._shard = self._shard, None
        if shard:
            shard.finish()
        if entries:
            self._stock.journal.keep(entries)
            if self._on_kept:
                self._on_kept(entries)

    def discard(self) -> None:
        """Drop what is not yet on the disk."""
        if self._shard:
            self._shard.discard()


@contextmanager
def stock_writer(stock: Stock, on_kept: OnKept | None = None) -> Iterator[StockWriter]:
    """A writer that brings the rest to the disk at the end; what fails leaves only whole batches."""
    writer = StockWriter(stock, on_kept)
    try:
        yield writer
        writer.write()
    finally:
        writer.discard()

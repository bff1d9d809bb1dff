"""Shards without the dead: what left the journal leaves the disk, and many small shards become few."""

import numpy as np

from client.cache.shards import PIXEL, records_per_shard
from client.cache.stock import Stock
from client.cache.stock_writer import stock_writer

MANY_SMALL_SHARDS = 8
"""Shards less than half full, such as small ingests leave behind, are tolerated up to this number."""


def compact(stock: Stock) -> None:
    """Write the living records of some shards into new ones; the old go once no version reads them.

    Raises:
        CacheDamaged: a record's pixels are not what was written.
    """
    names = _to_rewrite(stock)
    if not names:
        return
    with stock_writer(stock) as writer:
        for name in names:
            shard = stock.shard(name)
            for entry in stock.journal.entries_in(name):
                image = np.empty((stock.image_size, stock.image_size), PIXEL)
                shard.read_into(image, entry.place.slot if entry.place else 0)
                writer.add(entry, image)


def _to_rewrite(stock: Stock) -> list[str]:
    living = stock.journal.num_by_shard()
    with_dead = {name for name, count in living.items() if count < len(stock.shard(name))}
    half = records_per_shard(stock.image_size) // 2
    small = {name for name, count in living.items() if count < half}
    return sorted(with_dead | (small if len(small) >= MANY_SMALL_SHARDS else set()))

"""Admitted changes as tensors that come when they are read: sent for, checked, and dropped again where room is short.

A value can be read once its shard is here and was checked, while others are still coming. With a cap on scratch, the
hospitals deliver batch after batch, and each batch goes once it is used. What hospitals said of their change is borne
out by its last shard: whoever lied, or stopped sending, is left out, and the round is computed anew without it.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from federation.encoding import decode
from federation.messages import Delivery, Refusal, RefusalCode
from federation.parcel import Parcel, ReadShard, Unpacked
from model.tensors import BLOCK_VALUES
from server.admission import inspect_true_norm, inspect_values
from server.aggregation.coordinate import CELL
from server.blobs.store import ShardDamaged

logger = logging.getLogger(__name__)

MAX_BRINGS = 3
"""Times that a hospital may leave the same shards."""


class Spoilt(RuntimeError):
    """A change that was admitted for what was said of it cannot be used after all."""

    def __init__(self, site: str, refusal: Refusal) -> None:
        super().__init__(f"{site}: {refusal.reason}")
        self.site, self.refusal = site, refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A change that was admitted for what its hospital said of it."""

    parcel: Parcel
    norm: float
    read: ReadShard | None
    """Its shards, if they came inside the message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Came:
    """Some of the shards that are waited for are here."""

    shards: tuple[int, ...]


Words = Iterator[tuple[str, Came | Delivery]]
"""What becomes of each site's shards: some came, all are here, or they do not come."""


class Source(Protocol):
    """Where shards are left that do not travel inside messages."""

    def fetch(
        self, wanted: Mapping[str, Parcel], shards: Sequence[int], *, number: int, num_spare: int
    ) -> Words:
        """Ask each site for some of its shards at once; what is given tells what becomes of that, and waits for it."""
        ...

    def bring(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> ReadShard:
        """Read a site's shards that are here."""
        ...

    def drop(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> None:
        """Free the room of a site's shards."""
        ...


@dataclass(kw_only=True, slots=True)
class _Arrival:
    """What has come of one change."""

    reads: dict[int, ReadShard] = field(default_factory=dict)
    """Number of each shard that is here and was checked -> how it is read."""
    squares: dict[int, float] = field(default_factory=dict)
    """Number of each shard that was ever checked -> sum of its squares."""


@dataclass(kw_only=True)
class Collection:
    """The changes of one round."""

    number: int
    """Of the round."""
    expected: Mapping[str, Expected]
    source: Source
    num_spare: int
    """Hospitals that can be left out without losing the quorum."""
    max_scratch: int | None = None
    """Bytes that shards may take at a time; None: as many as there are."""
    _arrivals: dict[str, _Arrival] = field(default_factory=dict)
    _batch: range = field(default_factory=lambda: range(0))
    """Numbers of the shards that come, or are here."""
    _words: Words | None = None
    """What is still to be heard of them."""
    _next: tuple[range, Words] | None = None
    """The batch after them, which comes while they are used."""

    def __post_init__(self) -> None:
        for site, change in sorted(self.expected.items()):
            self._arrivals[site] = _Arrival()
            if change.read is not None:
                self._admit(site, range(len(change.parcel.sizes)), change.read)

    def tensors(self) -> dict[str, Unpacked]:
        """Every site's change; if its shards may not all be here at once, to be read by all sites piece after piece in order.

        Raises:
            Spoilt: when it is read.
        """
        return {
            site: Unpacked(change.parcel, self._reader(site))
            for site, change in self.expected.items()
        }

    def finish(self) -> None:
        """Bring what was never read, so that every word of every hospital is checked.

        Raises:
            Spoilt: by a site that did not bear out what it said.
        """
        while any(
            len(self._arrivals[site].squares) < len(change.parcel.sizes)
            for site, change in self.expected.items()
        ):
            self._go_on()

    def _reader(self, site: str) -> ReadShard:
        reads = self._arrivals[site].reads

        def read(number: int, first: int, last: int) -> bytes:
            while number not in reads:
                self._go_on()
            return reads[number](number, first, last)

        return read

    def _go_on(self) -> None:
        """Wait for what comes next, and check it. When a batch is here the next one is sent for, to come meanwhile."""
        if self._words is None:
            self._batch, self._words = self._next_batch()
        for site, word in self._words:
            self._hear(site, word)
            if self._lacks_some:
                return
        for site in self._away:
            self._take(site, self._batch)
        self._words, self._next = None, self._send_for(self._batch.stop)

    def _next_batch(self) -> tuple[range, Words]:
        """Let go of this batch and have the next one."""
        coming = self._next or self._send_for(self._batch.stop)
        if coming is None:
            raise ValueError("a shard was read that was let go")
        for site, parcel in self._away.items():
            if self._batch:
                self.source.drop(site, parcel, self._batch, number=self.number)
            self._arrivals[site].reads.clear()
        return coming

    def _send_for(self, first: int) -> tuple[range, Words] | None:
        """Have the batch left that begins with a shard; None if there is none."""
        shards = range(first, min(first + self._batch_size, self._num_shards))
        return (shards, self._fetch(self._away, shards)) if shards else None

    def _fetch(self, wanted: Mapping[str, Parcel], shards: Sequence[int]) -> Words:
        return self.source.fetch(wanted, shards, number=self.number, num_spare=self.num_spare)

    def _hear(self, site: str, word: Came | Delivery) -> None:
        if isinstance(word, Refusal):
            raise Spoilt(site, word)
        if isinstance(word, Came):
            self._take(site, word.shards)

    def _take(self, site: str, shards: Sequence[int]) -> None:
        """Check what is new of a site's shards that are here."""
        parcel, reads = self.expected[site].parcel, self._arrivals[site].reads
        new = [number for number in shards if number < len(parcel.sizes) and number not in reads]
        if new:
            self._admit(site, new, self._bring(site, parcel, new))

    def _bring(self, site: str, parcel: Parcel, shards: Sequence[int]) -> ReadShard:
        """Read what was left; what got damaged since is left anew."""
        for _ in range(MAX_BRINGS):
            try:
                return self.source.bring(site, parcel, shards, number=self.number)
            except ShardDamaged as err:
                logger.warning("%s is to leave a shard again: %s", site, err)
            for _, word in self._fetch({site: parcel}, shards):
                self._hear(site, word)
        reason = "its shards arrive damaged again and again"
        raise Spoilt(site, Refusal(code=RefusalCode.TRANSFER, reason=reason))

    def _admit(self, site: str, shards: Sequence[int], read: ReadShard) -> None:
        """Look at every value once before it can be read, and at the norm of all that came."""
        change, arrival = self.expected[site], self._arrivals[site]
        for number in shards:
            if number not in arrival.squares:
                arrival.squares[number] = self._square(site, number, read)
        is_all = len(arrival.squares) == len(change.parcel.sizes)
        total = math.fsum(arrival.squares.values())
        refusal = inspect_true_norm(change.norm, total, is_all=is_all)
        if refusal is not None:
            raise Spoilt(site, refusal)
        arrival.reads.update(dict.fromkeys(shards, read))

    def _square(self, site: str, number: int, read: ReadShard) -> float:
        """Sum of the squares of a shard's values, which are all finite."""
        total = 0.0
        for name, values in _blocks(self.expected[site].parcel, number, read):
            square = sum_of_squares(values)
            # no sum of squares of finite float32 is too large for float64
            refusal = None if math.isfinite(square) else inspect_values(name, values)
            if refusal is not None:
                raise Spoilt(site, refusal)
            total += square
        return total

    @property
    def _lacks_some(self) -> bool:
        """Whether some of the batch are not here."""
        return any(len(self._arrivals[site].reads) < len(self._batch) for site in self._away)

    @property
    def _away(self) -> dict[str, Parcel]:
        """The parcels that have to be sent for, in order of site."""
        return {
            site: change.parcel
            for site, change in sorted(self.expected.items())
            if change.read is None
        }

    @property
    def _num_shards(self) -> int:
        return max((len(parcel.sizes) for parcel in self._away.values()), default=0)

    @property
    def _batch_size(self) -> int:
        """Shards of each site in a batch."""
        total = sum(parcel.num_bytes for parcel in self._away.values())
        if self.max_scratch is None or total <= self.max_scratch:
            return self._num_shards
        largest = sum(max(parcel.sizes) for parcel in self._away.values())
        return max(1, self.max_scratch // (2 * largest))  # one is used while the next one comes


def sum_of_squares(values: NDArray[np.float32]) -> float:
    """In float64, at a quarter of the time that squaring them all at once takes."""
    total, room = 0.0, np.empty(min(CELL, values.size))
    for start in range(0, values.size, CELL):
        cell = values[start : start + CELL]
        wide = room[: cell.size]
        wide[:] = cell
        total += float(wide @ wide)
    return total


def _blocks(
    parcel: Parcel, number: int, read: ReadShard
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """All values of a shard, some at a time, with the name of their tensor."""
    before = 0
    for piece in parcel.plan[number]:
        for start in range(before, before + piece.num_values, BLOCK_VALUES):
            stop = min(start + BLOCK_VALUES, before + piece.num_values)
            yield piece.name, decode(partial(read, number), parcel.encoding, start, stop)
        before += piece.num_values

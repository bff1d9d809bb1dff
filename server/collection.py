"""Admitted changes as tensors that come when they are read: sent for, checked, and dropped again where room is short.

Usually everything is sent for at once and every value is checked before the first one is used. With a cap on scratch, the
hospitals deliver batch after batch, each batch goes once it is used, and what hospitals said of their change is borne
out by the last batch: whoever lied, or stopped sending, is left out, and the round is computed anew without it.
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

    read: ReadShard | None
    squares: dict[int, float] = field(default_factory=dict)
    """Number of each checked shard -> sum of its squares."""


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
    _ready: range = field(default_factory=lambda: range(0))
    """Numbers of the shards that can be read now."""
    _arrivals: dict[str, _Arrival] = field(default_factory=dict)
    _coming: tuple[range, Words] | None = None
    """The next batch, on its way while this one is used."""

    def __post_init__(self) -> None:
        for site, change in sorted(self.expected.items()):
            self._arrivals[site] = _Arrival(read=change.read)
            if change.read is not None:
                self._check(site, range(len(change.parcel.sizes)))

    @property
    def is_whole(self) -> bool:
        """Whether all shards are there at the same time, so that they can be read again and again."""
        return self._batch >= self._num_shards

    def tensors(self) -> dict[str, Unpacked]:
        """Every site's change; to be read by all sites piece after piece in order if it is not whole.

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
        while self._ready.stop < self._num_shards:
            self._next_batch()

    def _reader(self, site: str) -> ReadShard:
        if self.expected[site].read is not None:
            return self.expected[site].read or _nothing

        def read(number: int, first: int, last: int) -> bytes:
            while number not in self._ready:
                self._next_batch()
            return (self._arrivals[site].read or _nothing)(number, first, last)

        return read

    def _next_batch(self) -> None:
        """Let go of this batch, wait for the next one and check it, and have the one after it sent meanwhile."""
        if not self.is_whole:
            for site, parcel in self._away.items():
                self.source.drop(site, parcel, self._ready, number=self.number)
        coming = self._coming or self._send_for(self._ready.stop)
        if coming is None:
            raise ValueError("a shard was read that was let go")
        shards, words = coming
        self._listen(words)
        for site, parcel in self._away.items():
            self._arrivals[site].read = self._bring(site, parcel, shards)
            self._check(site, shards)
        self._ready = shards
        self._coming = self._send_for(shards.stop)

    def _send_for(self, first: int) -> tuple[range, Words] | None:
        """Have the batch left that begins with a shard; None if there is none."""
        shards = range(first, min(first + self._batch, self._num_shards))
        return (shards, self._fetch(self._away, shards)) if shards else None

    def _fetch(self, wanted: Mapping[str, Parcel], shards: Sequence[int]) -> Words:
        return self.source.fetch(wanted, shards, number=self.number, num_spare=self.num_spare)

    def _listen(self, words: Words) -> None:
        """Check what comes while more is coming."""
        for site, word in words:
            if isinstance(word, Refusal):
                raise Spoilt(site, word)
            if isinstance(word, Came):
                parcel = self.expected[site].parcel
                self._arrivals[site].read = self._bring(site, parcel, word.shards)
                self._check(site, word.shards)

    def _bring(self, site: str, parcel: Parcel, shards: Sequence[int]) -> ReadShard:
        """Read what was left; what got damaged since is left anew."""
        own = [number for number in shards if number < len(parcel.sizes)]
        for _ in range(MAX_BRINGS):
            try:
                return self.source.bring(site, parcel, own, number=self.number)
            except ShardDamaged as err:
                logger.warning("%s is to leave a shard again: %s", site, err)
            self._listen(self._fetch({site: parcel}, own))
        reason = "its shards arrive damaged again and again"
        raise Spoilt(site, Refusal(code=RefusalCode.TRANSFER, reason=reason))

    def _check(self, site: str, shards: Sequence[int]) -> None:
        """Look at every value once; after the last shard, at the norm."""
        change, arrival = self.expected[site], self._arrivals[site]
        num_shards = len(change.parcel.sizes)
        for number in shards:
            if number < num_shards and number not in arrival.squares:
                arrival.squares[number] = self._square(site, number)
        if len(arrival.squares) == num_shards:
            refusal = inspect_true_norm(change.norm, math.fsum(arrival.squares.values()))
            if refusal is not None:
                raise Spoilt(site, refusal)

    def _square(self, site: str, number: int) -> float:
        """Sum of the squares of a shard's values, which are all finite."""
        total, read = 0.0, self._arrivals[site].read or _nothing
        for name, values in _blocks(self.expected[site].parcel, number, read):
            refusal = inspect_values(name, values)
            if refusal is not None:
                raise Spoilt(site, refusal)
            total += float(np.square(values, dtype=np.float64).sum())
        return total

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
    def _batch(self) -> int:
        """Shards of each site in a batch."""
        total = sum(parcel.num_bytes for parcel in self._away.values())
        if self.max_scratch is None or total <= self.max_scratch:
            return self._num_shards
        largest = sum(max(parcel.sizes) for parcel in self._away.values())
        return max(1, self.max_scratch // (2 * largest))  # one is used while the next one comes


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


def _nothing(number: int, first: int, last: int) -> bytes:
    raise ValueError(f"shard {number} is not here: bytes {first} to {last}")

"""Shards go out, each until the other side has all of it; the other side's word for what it has is the progress."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from client.config import SiteConfig
from client.transfer.line import PIECE_BYTES, Line, LineBroken
from client.transfer.moved import Meter, OnEnd, log_moved, metered
from client.transfer.patience import Patience
from client.transfer.places import Place, places_of
from client.transfer.refusals import DamagedHere, NotAccepted, TooLarge
from federation.messages import Ticket
from federation.parcel import Parcel, ReadShard

MAX_TRIES = 3
"""How often a shard may arrive with wrong bytes."""
READ_BYTES = 2**20


def leave_shards(
    site: SiteConfig,
    ticket: Ticket,
    parcel: Parcel,
    read: ReadShard,
    shards: Sequence[int],
    *,
    on_end: OnEnd = log_moved,
) -> int:
    """Leave some shards where the ticket says, going on wherever an earlier attempt stopped.

    Args:
        site: who leaves them.
        ticket: one link per shard that is asked for.
        parcel: sizes and digests of all shards.
        read: gives bytes of a shard.
        shards: numbers of those that are asked for.
        on_end: is told what was moved, also when this raises.

    Returns:
        Bytes of shards that were handed to the line, repetitions included.

    Raises:
        TicketExpired: if the ticket ends first; with another one this can go on.
        TransferRefused: if waiting does not help; the kinds are in `refusals`.
    """
    places = places_of(site, ticket, shards)
    wanted = sum(parcel.sizes[number] for number in shards)
    with metered("left", wanted, on_end) as meter, Line(site) as line:
        patience = Patience(ticket.expires, meter)
        leaving = _Leaving(line=line, patience=patience, meter=meter, parcel=parcel, read=read)
        for num_left, (number, place) in enumerate(places.items()):
            if num_left > 0:
                patience.require_time()
            leaving.leave(_Shard(number=number, place=place, size=parcel.sizes[number]))
        return meter.moved.num_bytes


@dataclass(kw_only=True, slots=True)
class _Shard:
    """One shard on its way."""

    number: int
    place: Place
    size: int
    handed_over: int = 0
    """Where the bytes end that were handed to the line."""
    confirmed: int = 0
    """How many bytes the other side said to have, at best."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Leaving:
    """What all shards have in common."""

    line: Line
    patience: Patience
    meter: Meter
    parcel: Parcel
    read: ReadShard

    def leave(self, shard: _Shard) -> None:
        """Send one shard, until it is there."""
        for _ in range(MAX_TRIES):
            if self._arrives(shard):
                self.patience.progress()
                return
            self.meter.count_again(shard.handed_over)
            shard.handed_over = shard.confirmed = 0
            self._check_whole(shard)
        raise NotAccepted(shard.number, MAX_TRIES)

    def _arrives(self, shard: _Shard) -> bool:
        """Send what is missing, as often as the line breaks; False if all came and it was wrong."""
        while True:
            try:
                status = self._send(shard)
            except LineBroken as trouble:
                self.line.close()
                self.patience.wait(trouble)
            else:
                return status != 422

    def _send(self, shard: _Shard) -> int:
        """Send what is missing once; the answer's status: there, or there and wrong."""
        have = 0 if shard.place.is_bucket else self._ask_how_much(shard)
        self._note(shard, have)
        if have == shard.size and not shard.place.is_bucket:
            return 201
        headers = {"Content-Length": str(shard.size - have)}
        if not shard.place.is_bucket:
            headers["Content-Range"] = f"bytes {have}-{shard.size - 1}/{shard.size}"
        answer = self.line.ask("PUT", shard.place, headers, self._body(shard, have))
        if answer.status == 413:
            raise TooLarge(shard.number)
        if answer.status not in ({200, 201, 204} if shard.place.is_bucket else {201, 422}):
            raise LineBroken(f"answer {answer.status}")
        return answer.status

    def _ask_how_much(self, shard: _Shard) -> int:
        answer = self.line.ask("HEAD", shard.place, {})
        said = answer.headers.get("Upload-Offset", "")
        if answer.status != 200 or not (said.isascii() and said.isdigit()):
            raise LineBroken(f"answer {answer.status} without a number of bytes")
        return min(int(said), shard.size)

    def _note(self, shard: _Shard, have: int) -> None:
        """The other side has so many bytes: what was sent beyond them is sent again."""
        self.meter.count_again(max(0, shard.handed_over - have))
        shard.handed_over = have
        if have > shard.confirmed:
            shard.confirmed = have
            self.patience.progress()

    def _body(self, shard: _Shard, have: int) -> Iterator[memoryview]:
        """The rest of the shard in small pieces, counted before they leave: never fewer than left."""
        for first in range(have, shard.size, READ_BYTES):
            block = memoryview(self.read(shard.number, first, min(first + READ_BYTES, shard.size)))
            for start in range(0, len(block), PIECE_BYTES):
                piece = block[start : start + PIECE_BYTES]
                shard.handed_over += len(piece)
                self.meter.count(len(piece))
                yield piece

    def _check_whole(self, shard: _Shard) -> None:
        digest = hashlib.sha256()
        for first in range(0, shard.size, READ_BYTES):
            digest.update(self.read(shard.number, first, min(first + READ_BYTES, shard.size)))
        if digest.hexdigest() != self.parcel.digests[shard.number]:
            raise DamagedHere(shard.number)

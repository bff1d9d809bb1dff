"""Shards come in, one after the other, into one file; its length is the progress."""

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from client.config import SiteConfig
from client.transfer.line import Line, LineBroken
from client.transfer.moved import Meter, OnEnd, log_moved, metered
from client.transfer.patience import Patience
from client.transfer.places import Place, places_of
from client.transfer.refusals import NoRoomHere, WrongBytes
from federation.messages import Ticket
from federation.parcel import Parcel
from model.tensor_file import write_all

MAX_TRIES = 3
"""How often a shard may come with wrong bytes."""
READ_BYTES = 2**20


def fetch_shards(
    site: SiteConfig,
    ticket: Ticket,
    parcel: Parcel,
    path: Path,
    *,
    start: int,
    on_end: OnEnd = log_moved,
) -> None:
    """Bring all shards of a parcel into a file, going on wherever an earlier attempt stopped or was killed.

    What lies in the file already is checked against the digests and kept as far as it fits; the bytes of a shard that
    is not whole are kept too. Afterwards everything is on the disk.

    Args:
        site: who fetches.
        ticket: one link per shard.
        parcel: sizes and digests of the shards.
        path: an existing file, of ``start`` bytes or more.
        start: where the first shard begins.
        on_end: is told what was moved, also when this raises.

    Raises:
        TicketExpired: if the ticket ends first; with another one this can go on.
        TransferRefused: if waiting does not help; the kinds are in `refusals`.
    """
    places = places_of(site, ticket, range(len(parcel.digests)))
    with (
        metered("fetched", parcel.num_bytes, on_end) as meter,
        Line(site) as line,
        path.open("r+b", buffering=0) as file,
        _room(parcel),
    ):
        received = _Received(parcel, file, start)
        patience = Patience(ticket.expires, meter)
        for number in range(received.keep_what_fits(), len(parcel.digests)):
            _fetch(number, places[number], received, line=line, patience=patience, meter=meter)
        received.keep()  # whoever goes on after a power cut checks what is there


class _Received:
    """The file, seen as shards; what is added to the last one is hashed on the way."""

    def __init__(self, parcel: Parcel, file: io.FileIO, start: int) -> None:
        self._file, self._digests = file, parcel.digests
        self.starts = [*accumulate(parcel.sizes, initial=start)]
        self.length = os.fstat(file.fileno()).st_size
        """Bytes that are there."""
        self._hash, self._hashed = hashlib.sha256(), start
        if self.length < start:
            raise ValueError(f"the file has {self.length} bytes, the first shard begins at {start}")

    def keep_what_fits(self) -> int:
        """Cut the file after its last good byte; the number of the first shard that is not whole."""
        self.cut(min(self.length, self.starts[-1]))
        for number in range(len(self._digests)):
            self.begin(number)
            if self.length < self.starts[number + 1]:
                return number
            if not self.fits(number):
                self.cut(self.starts[number])
                return number
        return len(self._digests)

    def begin(self, number: int) -> None:
        """Hash what is there of a shard; from now on bytes are added to this one."""
        self._hash, self._hashed = hashlib.sha256(), self.starts[number]
        stop = min(self.length, self.starts[number + 1])
        while self._hashed < stop:
            count = min(READ_BYTES, stop - self._hashed)
            content = os.pread(self._file.fileno(), count, self._hashed)
            self._hash.update(content)
            self._hashed += len(content)

    def add(self, content: memoryview) -> None:
        """The next bytes."""
        write_all(self._file, content)
        self._hash.update(content)
        self.length += len(content)

    def fits(self, number: int) -> bool:
        """Whether the shard that was begun, and is there as a whole, is the one that was announced."""
        return self._hash.hexdigest() == self._digests[number]

    def cut(self, length: int) -> None:
        """Forget what lies behind; the next byte is added there."""
        self._file.truncate(length)
        self._file.seek(length)
        self.length = length

    def keep(self) -> None:
        """Have it all on the disk."""
        os.fsync(self._file.fileno())


def _fetch(
    number: int,
    place: Place,
    received: _Received,
    *,
    line: Line,
    patience: Patience,
    meter: Meter,
) -> None:
    """Bring one shard, until it fits."""
    begin, end = received.starts[number], received.starts[number + 1]
    for _ in range(MAX_TRIES):
        received.begin(number)
        while received.length < end:
            try:
                _receive(number, place, received, line=line, patience=patience, meter=meter)
            except LineBroken as trouble:
                line.close()
                patience.wait(trouble)
        if received.fits(number):
            return
        meter.count_again(end - begin)
        received.cut(begin)
    raise WrongBytes(number, MAX_TRIES)


def _receive(
    number: int,
    place: Place,
    received: _Received,
    *,
    line: Line,
    patience: Patience,
    meter: Meter,
) -> None:
    """Add what is missing of one shard to the file, as far as the line holds."""
    begin, end = received.starts[number], received.starts[number + 1]
    have = received.length - begin
    answer = line.ask("GET", place, {"Range": f"bytes={have}-"} if have else {})
    if answer.status != (206 if have else 200):
        meter.count_again(have)
        received.cut(begin)
        received.begin(number)
    if answer.status not in {200, 206}:
        raise LineBroken(f"answer {answer.status}")
    for piece in line.pieces(answer, place, end - received.length):
        received.add(piece)
        meter.count(len(piece))
        patience.progress()


@contextmanager
def _room(parcel: Parcel) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if err.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoRoomHere(parcel.num_bytes) from err
        raise

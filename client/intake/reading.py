"""What sources offer and nobody has read yet -> the stock, a shard at a time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from client.cache.journal import RECORD, REPORT, Entry
from client.cache.shards import records_per_shard
from client.cache.stock import Stock
from client.cache.stock_writer import StockWriter, stock_writer
from client.control.quota import QuotaReached
from client.dicom.outcome import Outcome, Radiograph, Report
from client.dicom.rejection import Rejection
from client.guard.pool import ReaderKilled
from client.intake.opaque import Keys
from client.intake.opt_out import stripped
from client.sources.item import Item, ItemLost, Source, SourceFailed

OnProgress = Callable[[int, int], None]
"""Called with the files read and the files to be read."""

_NUM_FETCHERS = 4
_NUM_FETCHED_AHEAD = 8
"""Files that wait in the scratch folder for a reader, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One item of one source."""

    source: Source
    item: Item
    key: bytes
    version: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """An item whose content is at hand."""

    offer: Offer
    path: Path = field(repr=False)


ReadAll = Callable[[Iterator[tuple[Job, Path]]], Generator[tuple[Job, Outcome], None, None]]


def offers_of(sources: Sequence[Source], keys: Keys) -> list[Offer]:
    """Everything that the sources have now, each item once.

    Raises:
        SourceFailed: one of them cannot be asked.
    """
    offers = {}
    for source in sources:
        for item in source.items():
            key = keys.item(source.origin, item)
            offers[key] = Offer(source=source, item=item, key=key, version=keys.version(item))
    return list(offers.values())


class Intake:
    """Reads what is new of what is offered; afterwards it knows what was lost on the way."""

    def __init__(
        self,
        stock: Stock,
        keys: Keys,
        *,
        opted_out: frozenset[int],
        states_of: Callable[[Report], Mapping[str, str]],
        scratch: Path,
        require_room: Callable[[int], None],
    ) -> None:
        """Prepare.

        Args:
            stock: What is read goes there.
            keys: Make what is read opaque.
            opted_out: Patients who object; of their files nothing is kept.
            states_of: What a structured report says.
            scratch: Where fetched files wait.
            require_room: Called with a number of records before they are begun; ends the reading by `QuotaReached`.
        """
        self.lost: list[Offer] = []
        self._stock, self._keys, self._scratch = stock, keys, scratch
        self._opted_out, self._states_of = opted_out, states_of
        self._require_room = require_room

    def read(self, offers: Sequence[Offer], read_all: ReadAll, on_progress: OnProgress) -> int:
        """Read what is not known in its present version; returns how many items that were.

        Whatever ends it early, what is in finished shards by then is not read again.

        Raises:
            SourceFailed: a source no longer delivers.
            ReaderKilled: the system does not let files be read.
            QuotaReached: the next shard would take more room than the hospital gives.
        """
        new = [offer for offer in offers if not self._is_known(offer)]
        pending = {offer.key: offer for offer in new}

        def settle(entries: Sequence[Entry]) -> None:
            for entry in entries:
                offer = pending.pop(entry.key)
                offer.source.settled(offer.item)

        with stock_writer(self._stock, settle) as writer:
            try:
                self._read_new(new, writer, read_all, on_progress)
                on_progress(len(new), len(new))
            except (SourceFailed, ReaderKilled, QuotaReached, KeyboardInterrupt):
                writer.write()
                raise
        return len(new)

    def _is_known(self, offer: Offer) -> bool:
        known = self._stock.journal.version_of(offer.key) == offer.version
        if known:  # a killed ingest may have kept it without having said so
            offer.source.settled(offer.item)
        return known

    def _read_new(
        self, new: Sequence[Offer], writer: StockWriter, read_all: ReadAll, on_progress: OnProgress
    ) -> None:
        readable = [offer for offer in new if offer.item.refused is None]
        for offer in new:
            if offer.item.refused is not None:
                writer.add(_entry(offer, offer.item.refused.value))
        with closing(read_all(self._jobs(readable))) as outcomes:
            for number, (job, outcome) in enumerate(outcomes, start=1 + len(new) - len(readable)):
                if isinstance(outcome, Radiograph) and not writer.has_open_shard:
                    left = 1 + len(new) - number
                    self._require_room(min(left, records_per_shard(self._stock.image_size)))
                self._take(job.offer, outcome, writer)
                if job.path.is_relative_to(self._scratch):
                    job.path.unlink(missing_ok=True)
                on_progress(number + len(self.lost), len(new))

    def _take(self, offer: Offer, outcome: Outcome, writer: StockWriter) -> None:
        """Make an outcome opaque and put it into the stock."""
        if isinstance(outcome, Rejection):
            writer.add(_entry(offer, outcome.reason.value))
            return
        patient = self._keys.patient(outcome.identity)
        if patient in self._opted_out:
            writer.add(stripped(_entry(offer, ""), patient))
        elif isinstance(outcome, Report):
            payload = self._keys.report(outcome, self._states_of(outcome))
            writer.add(_entry(offer, REPORT, payload))
        else:
            writer.add(_entry(offer, RECORD, self._keys.record(outcome)), outcome.image)

    def _jobs(self, offers: Sequence[Offer]) -> Iterator[tuple[Job, Path]]:
        """Have files fetched a few ahead of the readers, who would otherwise wait for a PACS."""
        fetchers = ThreadPoolExecutor(_NUM_FETCHERS)
        waiting: deque[tuple[Offer, Future[Path]]] = deque()
        try:
            for offer in offers:
                file = fetchers.submit(offer.source.file_of, offer.item, self._scratch)
                waiting.append((offer, file))
                if len(waiting) == _NUM_FETCHED_AHEAD:
                    yield from self._fetched(*waiting.popleft())
            while waiting:
                yield from self._fetched(*waiting.popleft())
        finally:
            fetchers.shutdown(cancel_futures=True)

    def _fetched(self, offer: Offer, file: Future[Path]) -> Iterator[tuple[Job, Path]]:
        try:
            path = file.result()
        except ItemLost:
            self.lost.append(offer)
            return
        yield Job(offer=offer, path=path), path


def _entry(offer: Offer, outcome: str, payload: bytes = b"") -> Entry:
    return Entry(
        key=offer.key,
        version=offer.version,
        mirrored=offer.source.mirrored,
        outcome=outcome,
        payload=payload,
    )

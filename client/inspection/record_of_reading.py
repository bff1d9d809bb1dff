"""What the journal of the reading tells besides the records: flags of each, and which items were refused."""

import csv
import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache.cipher import load_key, seal_of
from client.cache.journal import RECORD, REPORT, Journal
from client.cache.layout import Version, cache_path, current_version
from client.cache.records import Records
from client.cache.shards import Place
from client.cache.writer import cache_lock
from client.config import SiteConfig
from client.intake.opaque import Keys, table_of
from client.intake.reading import offers_of
from client.sources.configured import sources_of
from federation.files import write_file
from privacy.patient import load_or_create_secret


def flags_of_records(site: SiteConfig, records: Records) -> NDArray[np.uint32]:
    """Flags of each record (n,), one bit a flag; none where the journal has moved on.

    Raises:
        CacheBusy: an ingest is under way.
        JournalDamaged: the journal is not as it was written.
    """
    with _open_journal(site) as journal:
        entries = [(entry.place, entry.payload) for entry in journal.entries(RECORD)]
    flags = table_of(payload for _, payload in entries)["flags"]
    by_place = {place: flag for (place, _), flag in zip(entries, flags.tolist(), strict=True)}
    shards = [shard.name for shard in records.images.shards]
    places = (Place(shards[shard], slot) for shard, slot in records.images.places.tolist())
    return np.array([by_place.get(place, 0) for place in places], np.uint32)


def write_refused_list(site: SiteConfig, path: Path) -> int:
    """Write name and reason of everything that was refused on reading; returns how many there are.

    The sources are asked again what they have, because the journal keeps no name. Duplicates are not in the list:
    which of two copies is used is not a matter of either file.

    Raises:
        CacheBusy: an ingest is under way.
        SourceFailed: a source cannot be asked.
    """
    keys = Keys(load_or_create_secret(site.state_path / "patient.secret"))
    with _open_journal(site) as journal:
        outcomes = {item.key: item.outcome for item in journal.standing()}
    rows = [
        (offer.source.origin, offer.item.name, outcomes[offer.key])
        for offer in offers_of(sources_of(site), keys)
        if outcomes.get(offer.key, RECORD) not in {RECORD, REPORT}
    ]
    text = io.StringIO()
    csv.writer(text).writerows([("source", "name", "reason"), *rows])
    write_file(path, text.getvalue().encode(errors="surrogateescape"))
    return len(rows)


@contextmanager
def _open_journal(site: SiteConfig) -> Iterator[Journal]:
    """The journal of the version in use, while no ingest can write it."""
    path = cache_path(site)
    version: Version = current_version(path)
    with cache_lock(path):
        seal = seal_of(load_key(site.cache_key_path))
        with closing(Journal(version.stock_folder, seal)) as journal:
            yield journal

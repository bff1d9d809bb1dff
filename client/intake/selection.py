"""The journal's records -> those that are used, in their final order: no duplicates, whole patients held out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cache.journal import Entry
from client.intake.opaque import Table, table_of

HELD_OUT_ONE_IN = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """n records, and where their pixels lie."""

    table: Table
    """(n,) of RECORD."""
    keys: tuple[bytes, ...]
    """Of their items."""
    shards: tuple[str, ...]
    """Names of the shards that hold pixels of theirs."""
    places: NDArray[np.uint32]
    """(n, 2): which of the shards, and which slot in it."""

    def __len__(self) -> int:
        """Number of records."""
        return len(self.keys)

    def only(self, chosen: NDArray[np.integer]) -> "Selection":
        """Some of the records, in the order given."""
        return Selection(
            table=self.table[chosen],
            keys=tuple(self.keys[index] for index in chosen.tolist()),
            shards=self.shards,
            places=self.places[chosen],
        )


def select_all(entries: Sequence[Entry], *, named: Collection[bytes]) -> Selection:
    """All records in the order of their opaque keys, and copies of one in an order that content decides.

    Args:
        entries: Of records.
        named: Keys of items that the labels name by their file; of equal copies they come first.
    """
    placed = [(entry, entry.place) for entry in entries if entry.place]
    placed.sort(key=lambda pair: (pair[0].key not in named, pair[0].key))
    table = table_of(entry.payload for entry, _ in placed)
    shards = tuple(sorted({place.shard for _, place in placed}))
    number = {shard: index for index, shard in enumerate(shards)}
    places = [(number[place.shard], place.slot) for _, place in placed]
    everything = Selection(
        table=table,
        keys=tuple(entry.key for entry, _ in placed),
        shards=shards,
        places=np.array(places, np.uint32).reshape(-1, 2),
    )
    content = [record.tobytes() for record in table]
    by_order = sorted(range(len(table)), key=lambda index: (table["order"][index], content[index]))
    return everything.only(np.array(by_order, np.int64))


def without_copies(selection: Selection) -> Selection:
    """One record for each identifier and for each picture: the first of them."""
    kept: list[int] = []
    seen: set[int | bytes] = set()
    for index, record in enumerate(selection.table):
        names = {int(record["order"]), record["pixels"].tobytes()}
        if not names & seen:
            kept.append(index)
        seen |= names
    return selection.only(np.array(kept, np.int64))


def held_out(table: Table, *, unknown_patient: int) -> NDArray[np.bool_]:
    """Hold out whole patients, about one in ten; never the unknown one, who may be everybody.

    Args:
        table: n records.
        unknown_patient: Key of the patient of all records without a patient id.
    """
    patients = table["patient"]
    chosen = patients % np.uint64(HELD_OUT_ONE_IN) == 0
    return np.asarray(chosen & (patients != np.uint64(unknown_patient)))

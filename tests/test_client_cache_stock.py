"""The journal and the shards it speaks of: kept together, moved together, and refused when they are not ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import client.cache.shards
from client.cache.compaction import MANY_SMALL_SHARDS, compact
from client.cache.journal import JOURNAL, RECORD, Entry, JournalDamaged
from client.cache.layout import CacheDamaged, CacheLocked
from client.cache.stock import Stock, open_stock
from client.cache.stock_writer import stock_writer

SIZE = 4
KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.cache.shards, "MAX_RECORDS", 4)


@contextmanager
def stock_in(
    path: Path, *, settings: str = "s", key: bytes | None = None, rebuild: bool = False
) -> Iterator[Stock]:
    with open_stock(path, settings=settings, key=key, image_size=SIZE, rebuild=rebuild) as stock:
        yield stock


def entry(number: int, *, mirrored: bool = True, outcome: str = RECORD) -> Entry:
    return Entry(
        key=number.to_bytes(16, "big"),
        version=b"v",
        mirrored=mirrored,
        outcome=outcome,
        payload=f"payload {number}".encode(),
    )


def grey(number: int) -> NDArray[np.uint16]:
    return np.full((SIZE, SIZE), number, np.uint16)


def put(stock: Stock, *numbers: int) -> None:
    with stock_writer(stock) as writer:
        for number in numbers:
            writer.add(entry(number), grey(number))


def brightness_of(stock: Stock) -> dict[bytes, int]:
    """Payload -> brightness of the picture that the journal says is its own."""
    found = {}
    for kept in stock.journal.entries(RECORD):
        assert kept.place is not None
        image = grey(0)
        stock.shard(kept.place.shard).read_into(image, kept.place.slot)
        found[kept.payload] = int(image[0, 0])
    return found


def shards_in(stock: Stock) -> set[str]:
    return {path.name for path in stock.folder.glob("*.shard")}


@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_kept_is_found_again_with_its_pixels(tmp_path: Path, key: bytes | None) -> None:
    with stock_in(tmp_path, key=key) as stock:
        put(stock, *range(10))
        stock.journal.keep([entry(77, outcome="blank", mirrored=False)])
        folder = stock.folder
    with stock_in(tmp_path, key=key) as stock:
        assert stock.folder == folder
        assert brightness_of(stock) == {f"payload {n}".encode(): n for n in range(10)}
        assert sorted(stock.journal.num_by_shard().values()) == [2, 4, 4]
        standing = {item.key[-1]: item for item in stock.journal.standing()}
        assert (standing[77].outcome, standing[77].mirrored) == ("blank", False)
        assert stock.journal.version_of(entry(3).key) == b"v"
        assert stock.journal.version_of(entry(55).key) is None


@pytest.mark.parametrize("key", [None, KEY])
def test_the_living_move_together_and_the_dead_leave_the_disk(
    tmp_path: Path, key: bytes | None
) -> None:
    with stock_in(tmp_path, key=key) as stock:
        put(stock, *range(8))
        whole = next(kept.place for kept in stock.journal.entries(RECORD) if kept.place)
        stock.journal.forget([entry(5).key, entry(7).key])
        compact(stock)
        assert brightness_of(stock) == {f"payload {n}".encode(): n for n in (0, 1, 2, 3, 4, 6)}
        assert whole.shard in stock.journal.num_by_shard()
        stock.remove_unused(frozenset())
        assert len(shards_in(stock)) == 2
        dead = [grey(number).tobytes() for number in (5, 7)]
        kept = [path.read_bytes() for path in stock.folder.glob("*.shard")]
        assert not any(picture in content for picture in dead for content in kept)


def test_many_small_shards_become_few_and_a_second_time_nothing_moves(tmp_path: Path) -> None:
    with stock_in(tmp_path) as stock:
        for number in range(MANY_SMALL_SHARDS - 1):
            put(stock, number)
        compact(stock)
        assert len(stock.journal.num_by_shard()) == MANY_SMALL_SHARDS - 1
        put(stock, 100)
        compact(stock)
        assert len(stock.journal.num_by_shard()) == MANY_SMALL_SHARDS // 4
        assert len(brightness_of(stock)) == MANY_SMALL_SHARDS
        before = stock.journal.num_by_shard()
        compact(stock)
        assert stock.journal.num_by_shard() == before


def interrupted_after(stock: Stock, num_records: int) -> None:
    with stock_writer(stock) as writer:
        for number in range(num_records):
            writer.add(entry(number), grey(number))
        raise InterruptedError


def test_a_batch_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with stock_in(tmp_path) as stock:
        with pytest.raises(InterruptedError):
            interrupted_after(stock, 6)
        assert len(brightness_of(stock)) == 4
        assert len(shards_in(stock)) == 1
        assert not list(stock.folder.glob(".draft-*"))


def test_shards_and_drafts_of_a_killed_ingest_are_removed(tmp_path: Path) -> None:
    with stock_in(tmp_path) as stock:
        put(stock, 1)
        for name in ("0000000000000000.shard", ".draft-x.shard"):
            (stock.folder / name).write_bytes(b"pixels")
        folder = stock.folder
    with stock_in(tmp_path):
        assert sorted(path.suffix for path in folder.iterdir() if "journal" not in path.name) == [
            ".shard"
        ]


@pytest.mark.parametrize("key", [None, KEY])
def test_a_payload_that_was_changed_or_exchanged_is_noticed(
    tmp_path: Path, key: bytes | None
) -> None:
    for change in (
        "UPDATE items SET payload = (SELECT max(payload) FROM items)",
        "UPDATE items SET slot = 1 - slot",
        "UPDATE items SET payload = x''",
        "UPDATE items SET version = x'00'",
    ):
        with stock_in(tmp_path, key=key, rebuild=True) as stock:
            put(stock, 0, 1)
            stock.journal._connection.execute(change)  # noqa: SLF001
            with pytest.raises(JournalDamaged, match="--rebuild"):
                list(stock.journal.entries(RECORD))


def test_a_journal_that_is_no_database_is_noticed_and_rebuilt(tmp_path: Path) -> None:
    with stock_in(tmp_path) as stock:
        put(stock, 1)
        path = stock.folder / JOURNAL
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(JournalDamaged, match="--rebuild"), stock_in(tmp_path):
        pass
    with stock_in(tmp_path, rebuild=True) as stock:
        assert brightness_of(stock) == {}


def test_a_lost_shard_is_noticed_when_it_is_needed(tmp_path: Path) -> None:
    with stock_in(tmp_path) as stock:
        put(stock, 1, 2)
        stock.journal.forget([entry(1).key])
        for name in shards_in(stock):
            (stock.folder / name).unlink()
        with pytest.raises(CacheDamaged, match="is missing"):
            compact(stock)


def test_a_key_that_is_exchanged_or_lost_is_not_taken_for_a_change_of_settings(
    tmp_path: Path,
) -> None:
    with stock_in(tmp_path, key=KEY) as stock:
        put(stock, 1)
    with pytest.raises(CacheLocked, match="another one is configured"):
        stock_in(tmp_path, key=bytes(32)).__enter__()
    with pytest.raises(CacheLocked, match="none is configured"):
        stock_in(tmp_path).__enter__()
    with stock_in(tmp_path, rebuild=True) as stock:
        assert brightness_of(stock) == {}


def test_turning_encryption_on_begins_anew_without_being_asked(tmp_path: Path) -> None:
    with stock_in(tmp_path) as stock:
        put(stock, 1)
    with stock_in(tmp_path, key=KEY) as stock:
        assert brightness_of(stock) == {}


def test_an_encrypted_journal_shows_no_payload_not_even_in_its_log(tmp_path: Path) -> None:
    for key, is_shown in ((None, True), (KEY, False)):
        with stock_in(tmp_path, key=key, rebuild=True) as stock:
            put(stock, 1)
            kept = b"".join(path.read_bytes() for path in stock.folder.iterdir())
            assert (b"payload 1" in kept) is is_shown

"""The cache is whole or refused, encrypted or not, and there is always one."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import client.cache.shards
from client.cache.images import Images, open_images
from client.cache.layout import CacheOutdated, current_version
from client.cache.records import (
    CacheDamaged,
    CacheLocked,
    CacheMissing,
    join,
    open_cache,
    verify_cache,
)
from client.cache.writer import CacheBusy, cache_lock
from client.dicom.outcome import Flag
from client.dicom.rejection import Reason
from client.tally import Tally
from model.conditioning import Schema

FINDINGS = ("edema", "fracture")
SIZE = 8
NUM_RECORDS = 6
KEY = bytes(range(32))
TALLY = Tally(
    num_files=10,
    num_usable=NUM_RECORDS,
    refused={Reason.DUPLICATE: 2, Reason.BLANK: 1},
    num_patients=3,
    num_held_out=1,
    num_reports=1,
    flags={Flag.LOSSY: 2},
)
ARRAYS = ["rows", "patients", "held_out", "places"]

Write = Callable[..., None]


@pytest.fixture
def write(fill_cache: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Write:
    """Makes a cache of grey pictures in three shards, each brighter than the one before."""
    monkeypatch.setattr(client.cache.shards, "MAX_RECORDS", 2)

    def build(path: Path, *, brightness: int = 0, key: bytes | None = None) -> None:
        rows = np.stack([Schema(FINDINGS).null_row()] * NUM_RECORDS)
        rows[:, 1] = np.arange(NUM_RECORDS) % 3
        fill_cache(
            path,
            images=[np.full((SIZE, SIZE), brightness + i, np.uint16) for i in range(NUM_RECORDS)],
            rows=rows,
            patients=np.arange(NUM_RECORDS, dtype=np.uint64) // 2,
            held_out=np.arange(NUM_RECORDS) == 0,
            findings=FINDINGS,
            tally=TALLY,
            key=key,
        )

    return build


def shards_of(path: Path) -> list[Path]:
    version = current_version(path)
    return [version.stock_folder / name for name in version.manifest.shards]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_written_is_what_is_read(tmp_path: Path, write: Write, key: bytes | None) -> None:
    write(tmp_path, brightness=100, key=key)
    records = open_cache(tmp_path, key)
    assert records.images[:].shape == (NUM_RECORDS, SIZE, SIZE)
    assert records.images[:].dtype == np.uint16
    assert [image[0, 0] for image in records.images] == [100, 101, 102, 103, 104, 105]
    assert records.images[np.array([5, 0, 5])][:, 7, 7].tolist() == [105, 100, 105]
    assert records.images[-1].shape == (SIZE, SIZE)
    assert records.images[np.zeros(0, np.int64)].shape == (0, SIZE, SIZE)
    assert records.patients.tolist() == [0, 0, 1, 1, 2, 2]
    assert (len(records), records.num_training, records.image_size) == (6, 5, SIZE)
    assert records.tally == TALLY
    assert verify_cache(tmp_path, key).findings == FINDINGS


def test_a_batch_is_what_the_network_takes(tmp_path: Path, write: Write) -> None:
    write(tmp_path, brightness=65530)
    image, condition = open_cache(tmp_path).batch(np.array([5, 0]))
    assert image.shape == (2, 1, SIZE, SIZE)
    assert image.dtype == condition.dtype == torch.float32
    torch.testing.assert_close(image[0], torch.ones(1, SIZE, SIZE))
    torch.testing.assert_close(image[1], torch.full((1, SIZE, SIZE), 65530 / 32767.5 - 1))
    assert condition.shape == (2, len(Schema(FINDINGS).names))
    assert condition[:, 1].tolist() == [2.0, 0.0]
    assert torch.isnan(condition[:, 0]).all()


def test_changing_a_batch_leaves_the_cache_alone(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    records = open_cache(tmp_path)
    for tensor in records.batch(np.arange(NUM_RECORDS)):
        tensor.fill_(7.0)
    verify_cache(tmp_path)
    assert records.rows[1, 1] == 1.0


@pytest.mark.parametrize("key", [None, KEY])
def test_a_training_keeps_the_version_that_it_opened(
    tmp_path: Path, write: Write, key: bytes | None
) -> None:
    write(tmp_path, key=key)
    old = open_cache(tmp_path, key)
    write(tmp_path, brightness=1000, key=key)
    assert open_cache(tmp_path, key).images[0][0, 0] == 1000
    assert old.images[:][:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    kinds = sorted(entry.name.split("-")[0] for entry in tmp_path.iterdir())
    assert kinds == [".lock", "current", "stock", "version"]


def test_an_ingest_that_comes_between_is_no_damage(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    replaced: list[int] = []

    def replace_meanwhile(*arguments: Any) -> Images:  # noqa: ANN401
        if not replaced:
            replaced.append(1)
            write(tmp_path, brightness=500)
        return open_images(*arguments)

    monkeypatch.setattr("client.cache.records.open_images", replace_meanwhile)
    assert open_cache(tmp_path).images[0][0, 0] == 500


def test_joined_caches_hold_the_records_of_all_one_after_the_other(
    tmp_path: Path, write: Write
) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", brightness=50, key=KEY)
    one, other = open_cache(tmp_path / "a"), open_cache(tmp_path / "b", KEY)
    both = join([one, other])
    assert len(both) == len(both.images) == 12
    assert both.images[:][:, 0, 0].tolist() == [*range(6), *range(50, 56)]
    for field in ("rows", "patients", "held_out"):
        expected: NDArray[np.generic] = np.concatenate([getattr(one, field), getattr(other, field)])
        np.testing.assert_array_equal(getattr(both, field), expected)


def test_more_shards_than_a_process_may_open_files_are_opened_all_the_same(
    tmp_path: Path, fill_cache: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.cache.shards, "MAX_RECORDS", 1)
    n = 120
    fill_cache(
        tmp_path,
        images=[np.full((1, 1), number, np.uint16) for number in range(n)],
        rows=np.stack([Schema(()).null_row()] * n),
        patients=np.arange(n, dtype=np.uint64),
        held_out=np.zeros(n, np.bool_),
        findings=(),
        tally=TALLY,
    )
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        assert open_cache(tmp_path).images[:].ravel().tolist() == list(range(n))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_two_ingests_do_not_write_at_once(tmp_path: Path) -> None:
    with cache_lock(tmp_path), pytest.raises(CacheBusy, match="Wait"), cache_lock(tmp_path):
        pass


def test_without_an_ingest_the_data_manager_is_asked_for_one(tmp_path: Path) -> None:
    with pytest.raises(CacheMissing, match="fedcxr hospital ingest"):
        open_cache(tmp_path)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("name", [*ARRAYS, "manifest.json"])
def test_a_flipped_bit_outside_the_pixels_is_noticed_on_opening(
    tmp_path: Path, write: Write, name: str, key: bytes | None
) -> None:
    write(tmp_path, key=key)
    content = (current_version(tmp_path).folder / name).read_bytes()
    flip(current_version(tmp_path).folder / name, content.find(b'num_patients": 3') + 15)
    with pytest.raises(CacheDamaged, match=name):
        open_cache(tmp_path, key)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_flipped_bit_in_the_pixels_is_noticed_when_they_are_read(
    tmp_path: Path, write: Write, key: bytes | None
) -> None:
    write(tmp_path, key=key)
    flip(shards_of(tmp_path)[0], 40)
    records = open_cache(tmp_path, key)
    readable = 0
    for index in range(NUM_RECORDS):
        try:
            records.images[index]
        except CacheDamaged:
            continue
        readable += 1
    assert readable == NUM_RECORDS - 1
    with pytest.raises(CacheDamaged, match="--rebuild"):
        verify_cache(tmp_path, key)
    with pytest.raises(CacheDamaged, match="a radiograph"):
        records.batch(np.arange(NUM_RECORDS))


@pytest.mark.parametrize("key", [None, KEY])
def test_exchanged_records_are_noticed_within_a_shard_and_between_shards(
    tmp_path: Path, write: Write, key: bytes | None
) -> None:
    write(tmp_path, key=key)
    first, second, _ = shards_of(tmp_path)
    one, other = first.read_bytes(), second.read_bytes()
    half = len(one) // 2
    first.write_bytes(one[half:] + one[:half])
    with pytest.raises(CacheDamaged):
        open_cache(tmp_path, key).images[:]
    first.write_bytes(other)
    second.write_bytes(one)
    with pytest.raises(CacheDamaged):
        open_cache(tmp_path, key).images[:]


def test_what_belongs_to_another_cache_with_the_same_key_is_noticed(
    tmp_path: Path, write: Write
) -> None:
    for name in "ab":
        write(tmp_path / name, key=KEY)
    mine, yours = (current_version(tmp_path / name) for name in "ab")
    foreign = yours.stock_folder / yours.manifest.shards[0]
    (mine.stock_folder / mine.manifest.shards[0]).write_bytes(foreign.read_bytes())
    with pytest.raises(CacheDamaged):
        verify_cache(tmp_path / "a", KEY)


@pytest.mark.parametrize("name", [*ARRAYS, "manifest.json"])
def test_a_cut_or_missing_file_is_noticed_on_opening(
    tmp_path: Path, write: Write, name: str
) -> None:
    write(tmp_path)
    path = current_version(tmp_path).folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheDamaged):
        open_cache(tmp_path)
    path.unlink()
    with pytest.raises(CacheDamaged, match=name):
        open_cache(tmp_path)


def test_a_cut_or_missing_shard_is_noticed_on_opening(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    shard = shards_of(tmp_path)[1]
    content = shard.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        shard.write_bytes(content[:length])
        with pytest.raises(CacheDamaged):
            open_cache(tmp_path)
    shard.unlink()
    with pytest.raises(CacheDamaged, match="a shard is missing"):
        open_cache(tmp_path)


@pytest.mark.parametrize("content", [b"", b"../..", b"version-gone", b"\xff"])
def test_a_damaged_pointer_is_noticed(tmp_path: Path, write: Write, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / "current").write_bytes(content)
    with pytest.raises(CacheDamaged, match="current"):
        open_cache(tmp_path)


def test_an_older_manifest_under_the_current_name_is_noticed(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    line = (tmp_path / "current").read_text()
    (tmp_path / "current").write_text(line.split()[0])
    with pytest.raises(CacheDamaged, match="current"):
        open_cache(tmp_path)


def test_a_cache_of_an_earlier_format_is_to_be_ingested_again(tmp_path: Path, write: Write) -> None:
    (tmp_path / "version-0").mkdir()
    (tmp_path / "current").write_text("version-0")
    (tmp_path / "version-0" / "manifest.json").write_text('{"format": 1, "findings": []}')
    with pytest.raises(CacheOutdated, match=r"typing: fedcxr hospital ingest$"):
        open_cache(tmp_path)
    write(tmp_path)
    verify_cache(tmp_path)
    assert not (tmp_path / "version-0").exists()


@pytest.mark.parametrize(
    ("written", "given", "why"),
    [
        (KEY, None, "no key is configured"),
        (KEY, bytes(32), "another key"),
        (None, KEY, "it is not encrypted"),
    ],
)
def test_a_key_that_does_not_fit_is_one_clear_sentence(
    tmp_path: Path, write: Write, written: bytes | None, given: bytes | None, why: str
) -> None:
    write(tmp_path, key=written)
    with pytest.raises(CacheLocked, match=why) as raised:
        open_cache(tmp_path, given)
    assert "cache_key_path" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_an_encrypted_cache_shows_no_pixel_row_and_no_array(tmp_path: Path, write: Write) -> None:
    write(tmp_path, brightness=0x5A5A, key=KEY)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for brightness in range(NUM_RECORDS):
        assert np.full(SIZE, 0x5A5A + brightness, "<u2").tobytes() not in kept
    assert b"NUMPY" not in kept
    write(tmp_path, brightness=0x5A5A)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert np.full(SIZE, 0x5A5A, "<u2").tobytes() in kept

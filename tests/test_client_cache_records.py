"""The cache is whole or refused, and there is always one."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.cache.records import CacheDamaged, CacheMissing, open_cache, verify_cache
from client.cache.writer import CacheBusy, cache_draft, publish
from client.dicom.rejection import Reason
from client.tally import Tally
from model.conditioning import Schema

WRITE_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from client.cache.writer import cache_draft, publish
from client.tally import Tally
path, n = Path(sys.argv[1]), 200
tally = Tally(num_files=n, num_usable=n, refused={}, num_patients=n, num_held_out=0)
while True:
    with cache_draft(path) as draft:
        publish(draft, path, images=iter(np.ones((n, 8, 8), np.uint16)), image_size=8,
                rows=np.zeros((n, 6), np.float32), patients=np.zeros(n, np.uint64),
                held_out=np.zeros(n, bool), findings=(), tally=tally, settings="")
    print(".", flush=True)
"""
FINDINGS = ("edema", "fracture")
SIZE = 8
NUM_RECORDS = 6
TALLY = Tally(
    num_files=9,
    num_usable=NUM_RECORDS,
    refused={Reason.DUPLICATE: 2, Reason.BLANK: 1},
    num_patients=3,
    num_held_out=1,
)


def pictures(brightness: int) -> Iterator[NDArray[np.uint16]]:
    return (np.full((SIZE, SIZE), brightness + i, np.uint16) for i in range(NUM_RECORDS))


def write(
    path: Path, *, brightness: int = 0, images: Iterator[NDArray[np.uint16]] | None = None
) -> None:
    rows = np.stack([Schema(FINDINGS).null_row()] * NUM_RECORDS)
    rows[:, 1] = np.arange(NUM_RECORDS) % 3
    with cache_draft(path) as draft:
        publish(
            draft,
            path,
            images=images or pictures(brightness),
            image_size=SIZE,
            rows=rows,
            patients=np.arange(NUM_RECORDS, dtype=np.uint64) // 2,
            held_out=np.arange(NUM_RECORDS) == 0,
            findings=FINDINGS,
            tally=TALLY,
            settings="0" * 64,
        )


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    write(tmp_path, brightness=100)
    records = open_cache(tmp_path)
    assert records.images.shape == (NUM_RECORDS, SIZE, SIZE)
    assert records.images[:, 0, 0].tolist() == [100, 101, 102, 103, 104, 105]
    assert isinstance(records.images, np.memmap)
    assert records.patients.tolist() == [0, 0, 1, 1, 2, 2]
    assert (len(records), records.num_training, records.image_size) == (6, 5, SIZE)
    assert records.tally == TALLY
    assert verify_cache(tmp_path).findings == FINDINGS


def test_a_batch_is_what_the_network_takes(tmp_path: Path) -> None:
    write(tmp_path, brightness=65530)
    image, condition = open_cache(tmp_path).batch(np.array([5, 0]))
    assert image.shape == (2, 1, SIZE, SIZE)
    assert image.dtype == condition.dtype == torch.float32
    torch.testing.assert_close(image[0], torch.ones(1, SIZE, SIZE))
    torch.testing.assert_close(image[1], torch.full((1, SIZE, SIZE), 65530 / 32767.5 - 1))
    assert condition.shape == (2, len(Schema(FINDINGS).names))
    assert condition[:, 1].tolist() == [2.0, 0.0]
    assert torch.isnan(condition[:, 0]).all()


def test_changing_a_batch_leaves_the_cache_alone(tmp_path: Path) -> None:
    write(tmp_path)
    records = open_cache(tmp_path)
    for tensor in records.batch(np.arange(NUM_RECORDS)):
        tensor.fill_(7.0)
    verify_cache(tmp_path)
    assert records.rows[1, 1] == 1.0


def test_a_new_version_replaces_the_old_one_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path)
    old = open_cache(tmp_path)
    write(tmp_path, brightness=1000)
    assert open_cache(tmp_path).images[0, 0, 0] == 1000
    assert old.images[0, 0, 0] == 0
    assert len([entry for entry in tmp_path.iterdir() if entry.is_dir()]) == 1


def test_a_failed_write_leaves_the_old_version(tmp_path: Path) -> None:
    write(tmp_path)
    wrong = iter([np.zeros((SIZE + 1, 1), np.uint16)])
    with pytest.raises(ValueError, match="broadcast"):
        write(tmp_path, images=wrong)
    verify_cache(tmp_path)
    assert len([entry for entry in tmp_path.iterdir() if entry.is_dir()]) == 1


def test_two_ingests_do_not_write_at_once(tmp_path: Path) -> None:
    with cache_draft(tmp_path), pytest.raises(CacheBusy, match="Wait"), cache_draft(tmp_path):
        pass


def test_without_an_ingest_the_data_manager_is_asked_for_one(tmp_path: Path) -> None:
    with pytest.raises(CacheMissing, match="fedcxr hospital ingest"):
        open_cache(tmp_path)


@pytest.mark.parametrize("name", ["rows.npy", "patients.npy", "held_out.npy", "manifest.json"])
def test_a_flipped_bit_outside_the_pixels_is_noticed_on_opening(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    [path] = tmp_path.glob(f"version-*/{name}")
    content = bytearray(path.read_bytes())
    content[-1 if name != "manifest.json" else 0] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheDamaged, match=name):
        open_cache(tmp_path)


def test_a_flipped_bit_in_the_pixels_is_noticed_on_verifying(tmp_path: Path) -> None:
    write(tmp_path)
    [path] = tmp_path.glob("version-*/images.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheDamaged, match=r"images\.npy"):
        verify_cache(tmp_path)


@pytest.mark.parametrize("name", ["images.npy", "rows.npy", "manifest.json"])
def test_a_cut_or_missing_file_is_noticed_on_opening(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    [path] = tmp_path.glob(f"version-*/{name}")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheDamaged):
        open_cache(tmp_path)
    path.unlink()
    with pytest.raises(CacheDamaged, match=name):
        open_cache(tmp_path)


@pytest.mark.parametrize("content", [b"", b"../..", b"version-gone", b"\xff"])
def test_a_damaged_pointer_is_noticed(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / "current").write_bytes(content)
    with pytest.raises(CacheDamaged, match="current"):
        open_cache(tmp_path)


@pytest.mark.slow
def test_killing_the_writer_at_any_moment_leaves_a_whole_cache(tmp_path: Path) -> None:
    write(tmp_path)
    for delay in (0.0, 0.002, 0.005, 0.011):
        command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        verify_cache(tmp_path)
    write(tmp_path)
    assert len([entry for entry in tmp_path.iterdir() if entry.is_dir()]) == 1

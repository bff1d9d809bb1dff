"""A hospital's process moves a model in little memory, and may be killed at any moment."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.blob_server import BlobServer, Shelf, until
from tests.faults.line import FaultyLine
from tests.faults.transferring import NUM_SHARDS, SHARD, parcel

PROGRAM = Path(__file__).parent / "faults" / "transferring.py"
MAX_GROWTH = 60e6


@pytest.fixture
def shelf() -> Shelf:
    """Offers 256 MB, and takes as much."""
    described = parcel()
    return Shelf(
        shards=[SHARD] * NUM_SHARDS,
        expected=list(described.digests),
        sizes=list(described.sizes),
    )


@pytest.fixture
def server(tmp_path: Path, shelf: Shelf) -> Iterator[BlobServer]:
    """Offers and takes."""
    with BlobServer(tmp_path, shelf) as running:
        yield running


def started(folder: Path, port: int, verb: str) -> "subprocess.Popen[bytes]":
    direct = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.Popen(
        [sys.executable, PROGRAM, folder, str(port), verb], stdout=subprocess.PIPE, env=direct
    )


def growth(process: "subprocess.Popen[bytes]") -> float:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return float(json.loads(out)["grew"])


@pytest.mark.slow
def test_256_mb_are_fetched_and_left_in_little_memory(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    path = tmp_path / "received"
    path.touch()
    assert growth(started(tmp_path, server.port, "fetch")) < MAX_GROWTH
    assert path.stat().st_size == NUM_SHARDS * len(SHARD)
    assert growth(started(tmp_path, server.port, "leave")) < MAX_GROWTH
    assert all(left == SHARD for left in shelf.left.values())
    assert len(shelf.left) == NUM_SHARDS


@pytest.mark.slow
def test_a_killed_process_goes_on_inside_the_shard(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    path = tmp_path / "received"
    path.touch()
    with FaultyLine(server.port) as line:
        line.limit(40e6)
        fetching = started(tmp_path, line.port, "fetch")
        until(lambda: path.stat().st_size > 20_000_000)
        fetching.kill()
        fetching.communicate()
    kept, asked = path.stat().st_size, len(shelf.asked)
    assert growth(started(tmp_path, server.port, "fetch")) < MAX_GROWTH
    assert kept % len(SHARD) != 0
    assert shelf.ranges[asked] == f"bytes={kept % len(SHARD)}-"
    assert path.read_bytes() == SHARD * NUM_SHARDS

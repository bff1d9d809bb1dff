"""A hospital's line keeps to its speed, and is cut in the middle of a shard when its people say so."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from client.config import SiteConfig
from client.control.limits import Limits
from client.control.orders import Orders, change_orders, order
from client.control.pace import Pace
from client.control.watch import cut, watching
from client.refused import NotTaken
from client.transfer.fetch import fetch_shards
from client.transfer.leave import leave_shards
from federation.messages import RefusalCode, Ticket
from federation.parcel import Parcel, pack, shards_in_file
from model.tensors import InMemory
from tests.faults.blob_server import TOKEN, BlobServer, Shelf, hospital, until
from tests.faults.line import FaultyLine


@pytest.fixture
def change(tmp_path: Path) -> Parcel:
    """A packed change of one shard of 4 MB, in the file ``change``."""
    values = np.random.default_rng(3).standard_normal(2**20, dtype=np.float32)
    return pack(tmp_path / "change", InMemory({"w": values}), "fp32", shard_values=2**20)


@pytest.fixture
def shelf(tmp_path: Path, change: Parcel) -> Shelf:
    """Expects the change, and offers it."""
    shards = [(tmp_path / "change").read_bytes()]
    return Shelf(shards=shards, expected=list(change.digests), sizes=list(change.sizes))


@pytest.fixture
def server(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobServer]:
    """Takes and gives, reached without a proxy."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with BlobServer(tmp_path, shelf) as running:
        yield running


def ticket() -> Ticket:
    return Ticket(links=("/blobs/change.a.1/0",), token=TOKEN, expires=int(time.time() + 60))


def leave(folder: Path, site: SiteConfig, change: Parcel) -> None:
    leave_shards(site, ticket(), change, shards_in_file(change, folder / "change"), (0,))


def refusal_of(work: Callable[[], None]) -> list[RefusalCode]:
    try:
        work()
    except NotTaken as err:
        return [err.refusal.code]
    return []


def test_bytes_take_the_time_that_is_theirs() -> None:
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(1000, clock=lambda: now[0], sleep=sleep)
    for _ in range(10):
        pace.take(500)
    assert now[0] == pytest.approx(5.0)
    now[0] += 100.0  # a rest is no credit for more than a burst
    slept.clear()
    pace.take(1000)
    assert slept == [pytest.approx(0.75)]


def test_a_change_leaves_and_comes_no_faster_than_the_profile_says(
    tmp_path: Path, server: BlobServer, change: Parcel
) -> None:
    limits = Limits(upload_bytes_per_second=8_000_000, download_bytes_per_second=16_000_000)
    site = replace(hospital(tmp_path, server.port), limits=limits)
    started = time.monotonic()
    leave(tmp_path, site, change)
    left = time.monotonic()
    (tmp_path / "come").touch()
    fetch_shards(site, ticket(), change, tmp_path / "come", start=0)
    come = time.monotonic()
    assert (tmp_path / "come").read_bytes() == (tmp_path / "change").read_bytes()
    assert 0.45 < left - started < 2.0  # 4.19 MB at 8 MB/s are 0.52 s
    assert 0.2 < come - left < 2.0  # at 16 MB/s 0.26 s


@pytest.mark.parametrize(
    "orders",
    [Orders(paused=order("ann")), Orders(withdrawn={"a" * 64: order("ann")}, num_cuts=1)],
    ids=["a pause", "a withdrawal from whichever study"],
)
def test_a_moment_after_the_hospital_is_closed_nothing_arrives_any_more(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel, orders: Orders
) -> None:
    with FaultyLine(server.port) as line:
        line.limit(400_000)
        site = hospital(tmp_path, line.port)
        codes: list[RefusalCode] = []
        leaving = threading.Thread(
            target=lambda: codes.extend(refusal_of(lambda: leave(tmp_path, site, change)))
        )
        leaving.start()
        until(lambda: line.bytes_up > 200_000)
        change_orders(site.state_path, lambda _: orders)
        time.sleep(0.5)  # the line's own buffers, 128 kB, drain
        arrived = line.bytes_up
        leaving.join(20)
        assert line.bytes_up - arrived < 30_000
    assert codes == [RefusalCode.PAUSED]
    assert sum(map(len, shelf.left.values())) < change.num_bytes


def until_reset(end: socket.socket) -> Iterator[bytes]:
    """What comes before a connection is reset; one that ends in order fails the test."""
    try:
        while content := end.recv(2**16):
            yield content
    except ConnectionResetError:
        return
    pytest.fail("ended in order: all that was handed over may have been sent")


def test_what_the_system_holds_for_a_cut_connection_is_dropped() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        near.settimeout(0.2)
        handed = 0
        while handed < 2**20:
            try:
                handed += near.send(b"x" * 2**16)
            except TimeoutError:
                break
        cut(near)
        near.close()
        with far:
            came = sum(map(len, until_reset(far)))
    assert came < handed / 2


def _is_longer(told: list[float], before: int) -> bool:
    return len(told) > before


def test_a_watch_tells_every_closing_and_no_opening() -> None:
    closed, told = [False], list[float]()
    with watching(lambda: closed[0], lambda: told.append(time.monotonic())):
        for _ in range(2):
            closed[0] = True
            before = len(told)
            until(partial(_is_longer, told, before))
            closed[0] = False
            time.sleep(0.25)
    assert len(told) == 2

"""Hospital and coordinator with each other: both directions, over a bad line, past the death of the public port."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from client.transfer import patience
from client.transfer.fetch import fetch_shards
from client.transfer.leave import leave_shards
from client.transfer.moved import Moved
from client.transfer.refusals import NotWanted, ShutOut, TicketExpired
from federation.parcel import Parcel, pack, shards_in_file
from federation.processes import free_port
from model.tensors import InMemory
from server.blobs.builtin import BuiltinStore
from server.enrolment.register import revoke
from tests.faults.blob_server import certificate, hospital, until
from tests.faults.gateway_process import put_on_roster
from tests.faults.line import FaultyLine

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter pauses, and no proxy between here and here."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(patience, "MAX_PAUSE_SECONDS", 0.2)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def port() -> int:
    """Where the gateway listens."""
    return free_port()


@contextmanager
def gateway(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the coordinator's public port; killed at the end if it is not dead."""
    tls = certificate(folder)
    put_on_roster(folder, "a")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "server.gateway", "--host", "127.0.0.1", "--port", str(port)),
            *("--upstream-port", "9", "--cert", tls.cert_path, "--key", tls.key_path),
            *("--ca", tls.ca_path, "--state", folder),
        ]
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def change(tmp_path: Path) -> Parcel:
    """A packed change of eight shards of 1 MB, in the file ``change``."""
    values = np.random.default_rng(3).standard_normal(2_000_000, dtype=np.float32)
    return pack(tmp_path / "change", InMemory({"w": values}), "fp32", shard_values=2**18)


@pytest.fixture
def store(tmp_path: Path) -> BuiltinStore:
    """The coordinator's view of its blobs."""
    return BuiltinStore(tmp_path)


def in_background(move: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=move)
    thread.start()
    return thread


def test_a_change_arrives_past_ten_cuts_and_a_killed_coordinator(
    tmp_path: Path, store: BuiltinStore, change: Parcel, port: int
) -> None:
    shards, told = range(len(change.digests)), list[Moved]()
    store.open_box("change.a.1", change)
    ticket = store.leave_ticket("change.a.1", change, shards, site="a", seconds=60)
    read = shards_in_file(change, tmp_path / "change")

    def leave() -> None:
        site = hospital(tmp_path, line.port)
        leave_shards(site, ticket, change, read, shards, on_end=told.append)

    with FaultyLine(port) as line:
        line.cut_after(700_000, times=10)
        line.limit(8e6)
        with gateway(tmp_path, port) as first:
            leaving = in_background(leave)
            until(lambda: len(store.arrived("change.a.1", change)) >= 3)
            first.kill()
            first.wait()
        with gateway(tmp_path, port):
            leaving.join(40)
    assert store.arrived("change.a.1", change) == frozenset(shards)
    brought = store.bring("change.a.1", change, shards)
    assert brought(7, 0, change.sizes[7]) == read(7, 0, change.sizes[7])
    assert line.cuts == 10
    assert told[0].num_bytes >= change.num_bytes


def test_weights_are_fetched_past_ten_cuts_and_a_killed_coordinator(
    tmp_path: Path, store: BuiltinStore, change: Parcel, port: int
) -> None:
    store.publish("weights.1", change, tmp_path / "change", 0)
    ticket = store.fetch_ticket("weights.1", change, site="a", seconds=60)
    path, told = tmp_path / "received", list[Moved]()
    path.write_bytes(b"header")

    def fetch() -> None:
        site = hospital(tmp_path, line.port)
        fetch_shards(site, ticket, change, path, start=6, on_end=told.append)

    with FaultyLine(port) as line:
        line.cut_after(700_000, times=10)
        line.limit(8e6)
        with gateway(tmp_path, port) as first:
            fetching = in_background(fetch)
            until(lambda: path.stat().st_size > 3_300_000)
            first.kill()
            first.wait()
        with gateway(tmp_path, port):
            fetching.join(40)
    assert path.read_bytes() == b"header" + (tmp_path / "change").read_bytes()
    assert line.bytes_down <= 1.05 * change.num_bytes
    assert told[0].num_bytes == change.num_bytes


def test_what_the_coordinator_forgot_is_not_wanted_and_its_tickets_run_out(
    tmp_path: Path, store: BuiltinStore, change: Parcel, port: int
) -> None:
    store.open_box("change.a.1", change)
    late = store.leave_ticket("change.a.1", change, [0], site="a", seconds=-60)
    ticket = store.leave_ticket("change.a.1", change, [0], site="a", seconds=60)
    read, site = shards_in_file(change, tmp_path / "change"), hospital(tmp_path, port)
    with gateway(tmp_path, port):
        assert leave_shards(site, ticket, change, read, [0]) == change.sizes[0]
        assert leave_shards(site, ticket, change, read, [0]) == 0
        with pytest.raises(TicketExpired):
            leave_shards(site, late, change, read, [0])
        store.forget("change.a.")
        with pytest.raises(NotWanted):
            leave_shards(site, ticket, change, read, [0])


def test_a_hospital_that_is_revoked_gets_no_further_byte_and_is_told_why(
    tmp_path: Path, store: BuiltinStore, change: Parcel, port: int
) -> None:
    store.publish("weights.1", change, tmp_path / "change", 0)
    ticket = store.fetch_ticket("weights.1", change, site="a", seconds=60)
    left = store.leave_ticket("change.a.1", change, [0], site="a", seconds=60)
    store.open_box("change.a.1", change)
    path, failed = tmp_path / "received", list[BaseException]()
    path.touch()

    def fetch() -> None:
        try:
            fetch_shards(hospital(tmp_path, line.port), ticket, change, path, start=0)
        except ShutOut as err:
            failed.append(err)

    with FaultyLine(port) as line, gateway(tmp_path, port):
        line.cut_after(300_000, times=1000)
        line.limit(4e5)
        fetching = in_background(fetch)
        until(lambda: path.stat().st_size > 100_000)
        revoke(tmp_path, tmp_path / "roster", "a")
        fetching.join(20)
        site, read = hospital(tmp_path, port), shards_in_file(change, tmp_path / "change")
        with pytest.raises(ShutOut, match=r"has shut this hospital out \(revoked\): ask it why"):
            leave_shards(site, left, change, read, [0])
        put_on_roster(tmp_path, "a")  # it comes back: its old tickets do not
        with pytest.raises(ShutOut):
            leave_shards(site, left, change, read, [0])
    assert "shut this hospital out (revoked)" in str(failed[0])
    assert 100_000 < path.stat().st_size < change.num_bytes
    assert not store.arrived("change.a.1", change)

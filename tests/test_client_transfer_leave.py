"""Every shard is left as it is, or one sentence says why not; little of it leaves twice."""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from client.transfer import leave, patience
from client.transfer.leave import leave_shards
from client.transfer.moved import Moved
from client.transfer.refusals import (
    DamagedHere,
    HostNotAllowed,
    NotAccepted,
    NotWanted,
    TicketExpired,
    TooLarge,
    Untrusted,
)
from federation.messages import Ticket
from federation.parcel import Parcel, pack, shards_in_file
from model.tensors import InMemory
from tests.faults.blob_server import TOKEN, BlobServer, Shelf, hospital, until
from tests.faults.line import FaultyLine

NUM_VALUES = 900_000
SHARD_VALUES = 2**18


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses a hundred times shorter, and no proxy between here and here."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(patience, "MAX_PAUSE_SECONDS", 0.15)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def change(tmp_path: Path) -> Parcel:
    """A packed change of four shards, in the file ``change``."""
    return packed(tmp_path, NUM_VALUES)


@pytest.fixture
def shelf(change: Parcel) -> Shelf:
    """Expects the change."""
    return Shelf(expected=list(change.digests), sizes=list(change.sizes))


@pytest.fixture
def server(tmp_path: Path, shelf: Shelf) -> Iterator[BlobServer]:
    """Takes the shards."""
    with BlobServer(tmp_path, shelf) as running:
        yield running


def packed(folder: Path, num_values: int, *, shard_values: int = SHARD_VALUES) -> Parcel:
    values = np.random.default_rng(3).standard_normal(num_values, dtype=np.float32)
    return pack(folder / "change", InMemory({"w": values}), "fp32", shard_values=shard_values)


def content_of(folder: Path, parcel: Parcel, number: int) -> bytes:
    first = sum(parcel.sizes[:number])
    return (folder / "change").read_bytes()[first : first + parcel.sizes[number]]


def ticket_for(shards: Sequence[int], *, seconds: float = 60.0) -> Ticket:
    links = tuple(f"/blobs/change.a.1/{number}" for number in shards)
    return Ticket(links=links, token=TOKEN, expires=int(time.time() + seconds))


def left(folder: Path, port: int, parcel: Parcel, shards: Sequence[int] = (0, 1, 2, 3)) -> Moved:
    told: list[Moved] = []
    num_bytes = leave_shards(
        hospital(folder, port),
        ticket_for(shards),
        parcel,
        shards_in_file(parcel, folder / "change"),
        shards,
        on_end=told.append,
    )
    (moved,) = told
    assert moved.num_bytes == num_bytes
    return moved


def everything(shelf: Shelf) -> bytes:
    return b"".join(bytes(shelf.left[number]) for number in sorted(shelf.left))


def test_shards_are_left_over_one_connection(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    with FaultyLine(server.port) as line:
        moved = left(tmp_path, line.port, change)
        assert line.num_connections == 1
    assert everything(shelf) == (tmp_path / "change").read_bytes()
    assert (moved.num_bytes, moved.num_bytes_again) == (change.num_bytes, 0)
    assert (moved.interruptions, moved.verb) == (0, "left")


def test_only_the_shards_that_were_asked_for_leave(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    left(tmp_path, server.port, change, (1, 3))
    assert sorted(shelf.left) == [1, 3]
    assert bytes(shelf.left[3]) == content_of(tmp_path, change, 3)


@pytest.mark.parametrize("have", [1, 500_000, SHARD_VALUES * 4 - 1, SHARD_VALUES * 4])
def test_what_the_coordinator_has_does_not_leave_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel, have: int
) -> None:
    shelf.left[0] = bytearray(content_of(tmp_path, change, 0)[:have])
    moved = left(tmp_path, server.port, change)
    assert moved.num_bytes == change.num_bytes - have
    assert moved.num_bytes_again == 0
    assert everything(shelf) == (tmp_path / "change").read_bytes()


@pytest.mark.slow
def test_a_line_that_is_cut_ten_times_takes_all_and_little_twice(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    change = packed(tmp_path, 8_000_000, shard_values=2**22)
    shelf.expected, shelf.sizes = list(change.digests), list(change.sizes)
    shards = range(len(change.digests))
    with FaultyLine(server.port) as line:
        line.cut_after(2_900_000, times=10)
        moved = left(tmp_path, line.port, change, shards)
        assert (line.cuts, moved.interruptions) == (10, 10)
        assert line.bytes_up <= 1.05 * change.num_bytes
    assert moved.num_bytes - moved.num_bytes_again == change.num_bytes
    assert moved.num_bytes_again <= 0.10 * change.num_bytes  # what the system had taken, too
    assert hashlib.sha256(everything(shelf)).digest() == digest_of(tmp_path / "change")


def digest_of(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def test_a_byte_that_changes_on_the_way_is_noticed_and_repaired(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    with FaultyLine(server.port) as line:
        line.flip_after(1_500_000)
        moved = left(tmp_path, line.port, change)
    assert everything(shelf) == (tmp_path / "change").read_bytes()
    assert moved.interruptions == 1


def test_a_shard_that_arrived_wrong_is_sent_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    shelf.faults.spoil = 2
    moved = left(tmp_path, server.port, change)
    assert everything(shelf) == (tmp_path / "change").read_bytes()
    assert moved.num_bytes_again == 2 * change.sizes[0]


def test_shards_that_never_arrive_right_end_in_one_sentence(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    shelf.faults.spoil = 10**6
    with pytest.raises(NotAccepted, match=f"shard 0 was sent {leave.MAX_TRIES} times"):
        left(tmp_path, server.port, change)
    assert sum(request.startswith("PUT") for request in shelf.asked) == leave.MAX_TRIES


def test_an_update_that_is_damaged_at_home_is_said_to_be(
    tmp_path: Path, server: BlobServer, change: Parcel
) -> None:
    content = bytearray((tmp_path / "change").read_bytes())
    content[change.sizes[0] + 5] ^= 1
    (tmp_path / "change").write_bytes(content)
    with pytest.raises(DamagedHere, match="shard 1 of the finished update is damaged"):
        left(tmp_path, server.port, change)


@pytest.mark.parametrize("status", [507, 409, 202])
def test_other_answers_are_reasons_to_ask_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel, status: int
) -> None:
    shelf.faults.answers = [status, status]
    assert left(tmp_path, server.port, change).interruptions == 1
    assert everything(shelf) == (tmp_path / "change").read_bytes()


@pytest.mark.parametrize("status", [401, 404])
def test_what_the_coordinator_denies_is_not_asked_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel, status: int
) -> None:
    shelf.faults.answers = [status]
    with pytest.raises(TicketExpired if status == 401 else NotWanted):
        left(tmp_path, server.port, change)
    assert len(shelf.asked) == 1


def test_a_shard_that_is_too_large_for_the_coordinator_is_said_to_be(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    shelf.sizes[0] = 1000
    with pytest.raises(TooLarge, match="fewer bytes of shard 0"):
        left(tmp_path, server.port, change)


def test_a_coordinator_of_another_authority_gets_no_byte(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    (tmp_path / "other").mkdir()
    with BlobServer(tmp_path / "other", Shelf()):
        pass
    site = hospital(tmp_path / "other", server.port)
    read = shards_in_file(change, tmp_path / "change")
    with pytest.raises(Untrusted):
        leave_shards(site, ticket_for([0]), change, read, [0])
    assert (shelf.tokens, shelf.left) == (set(), {})


def test_a_server_that_starts_again_gets_the_rest(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    port = server.port
    with FaultyLine(port) as line:
        line.limit(12e6)
        leaving = threading.Thread(target=left, args=[tmp_path, line.port, change])
        leaving.start()
        until(lambda: len(everything(shelf)) > 1_200_000)
        server.close()
        time.sleep(0.3)  # what was on its way to the dead server is counted with what it got
        sent, missing = line.bytes_up, change.num_bytes - len(everything(shelf))
        with BlobServer(tmp_path, shelf, port):
            leaving.join(20)
        assert line.bytes_up - sent < 1.2 * missing
    assert everything(shelf) == (tmp_path / "change").read_bytes()


def test_the_price_is_told_also_when_the_ticket_ends_first(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    told: list[Moved] = []
    with FaultyLine(server.port) as line:
        line.cut_after(1_000_000)
        with pytest.raises(TicketExpired):
            leave_shards(
                hospital(tmp_path, line.port),
                ticket_for([0, 1], seconds=0),
                change,
                shards_in_file(change, tmp_path / "change"),
                [0, 1],
                on_end=told.append,
            )
    assert len(shelf.left[0]) > 0
    assert [moved.num_bytes >= len(shelf.left[0]) for moved in told] == [True]


def test_a_bucket_that_the_profile_does_not_name_gets_no_byte(
    tmp_path: Path, server: BlobServer, shelf: Shelf, change: Parcel
) -> None:
    link = f"https://localhost:{server.port}/bucket/0"
    ticket = Ticket(links=(link,), token="", expires=int(time.time()) + 60)
    site = hospital(tmp_path, server.port)
    read = shards_in_file(change, tmp_path / "change")
    with pytest.raises(HostNotAllowed, match="keeps the bytes at localhost"):
        leave_shards(site, ticket, change, read, [0])
    assert shelf.asked == []

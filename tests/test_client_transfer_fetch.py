"""Every shard arrives as it was announced, or one sentence says why not."""

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client.transfer import line as transfer_line
from client.transfer import patience
from client.transfer.fetch import fetch_shards
from client.transfer.moved import Moved
from client.transfer.refusals import (
    NotWanted,
    TicketExpired,
    Untrusted,
    WrongBytes,
)
from federation.messages import Ticket
from federation.parcel import Parcel
from tests.faults.blob_server import TOKEN, BlobServer, Shelf, hospital, until
from tests.faults.line import FaultyLine

HEADER = b"header!!"
SHARD_BYTES = 2**20


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses a hundred times shorter, and no proxy between here and here."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(patience, "MAX_PAUSE_SECONDS", 0.15)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shelf() -> Shelf:
    """Four shards, the last one smaller."""
    rng = np.random.default_rng(5)
    return Shelf(shards=[rng.bytes(size) for size in [SHARD_BYTES] * 3 + [4 * 1000]])


@pytest.fixture
def server(tmp_path: Path, shelf: Shelf) -> Iterator[BlobServer]:
    """Offers the shards."""
    with BlobServer(tmp_path, shelf) as running:
        yield running


def parcel_of_shards(shelf: Shelf) -> Parcel:
    num_values = sum(map(len, shelf.shards)) // 4
    return Parcel(
        shapes={"w": (num_values,)},
        encoding="fp32",
        digests=tuple(hashlib.sha256(shard).hexdigest() for shard in shelf.shards),
        shard_values=SHARD_BYTES // 4,
    )


def ticket_for(shelf: Shelf, *, seconds: float = 60.0) -> Ticket:
    links = tuple(f"/blobs/weights.1/{number}" for number in range(len(shelf.shards)))
    return Ticket(links=links, token=TOKEN, expires=int(time.time() + seconds))


def begun(folder: Path, content: bytes = b"") -> Path:
    path = folder / "received"
    path.write_bytes(HEADER + content)
    return path


def fetch(folder: Path, port: int, shelf: Shelf, path: Path, *, seconds: float = 60.0) -> Moved:
    told: list[Moved] = []
    fetch_shards(
        hospital(folder, port),
        ticket_for(shelf, seconds=seconds),
        parcel_of_shards(shelf),
        path,
        start=len(HEADER),
        on_end=told.append,
    )
    (moved,) = told
    return moved


def whole(shelf: Shelf) -> bytes:
    return HEADER + b"".join(shelf.shards)


def test_shards_arrive_behind_the_header_over_one_connection(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    with FaultyLine(server.port) as line:
        path = begun(tmp_path)
        moved = fetch(tmp_path, line.port, shelf, path)
        assert line.num_connections == 1
    assert path.read_bytes() == whole(shelf)
    assert moved.num_bytes == len(whole(shelf)) - len(HEADER)
    assert (moved.num_bytes_again, moved.interruptions, moved.verb) == (0, 0, "fetched")


@pytest.mark.parametrize("kept", [0, 1, 700_001, SHARD_BYTES, 2 * SHARD_BYTES + 77])
def test_bytes_that_lie_there_already_are_not_fetched_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf, kept: int
) -> None:
    path = begun(tmp_path, b"".join(shelf.shards)[:kept])
    moved = fetch(tmp_path, server.port, shelf, path)
    assert path.read_bytes() == whole(shelf)
    assert moved.num_bytes == len(whole(shelf)) - len(HEADER) - kept
    assert shelf.ranges[0] == (f"bytes={kept % SHARD_BYTES}-" if kept % SHARD_BYTES else "")


def test_a_file_that_is_whole_asks_for_nothing(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    path = begun(tmp_path, b"".join(shelf.shards))
    assert fetch(tmp_path, server.port, shelf, path).num_bytes == 0
    assert shelf.asked == []


@pytest.mark.parametrize("place", [5, SHARD_BYTES + 3, 2 * SHARD_BYTES + 9])
def test_wrong_bytes_in_the_file_are_noticed_and_fetched_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf, place: int
) -> None:
    content = bytearray(b"".join(shelf.shards)[: 2 * SHARD_BYTES + 100])
    content[place] ^= 1
    path = begun(tmp_path, bytes(content))
    fetch(tmp_path, server.port, shelf, path)
    assert path.read_bytes() == whole(shelf)


def test_a_longer_file_is_cut_to_its_shards(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    path = begun(tmp_path, b"".join(shelf.shards) + b"rest of something else")
    fetch(tmp_path, server.port, shelf, path)
    assert path.read_bytes() == whole(shelf)


def test_a_line_that_is_cut_ten_times_delivers_all_and_little_twice(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    shelf.shards[:] = [*shelf.shards[:3]] * 6
    with FaultyLine(server.port) as line:
        line.cut_after(1_600_000, times=10)
        path = begun(tmp_path)
        moved = fetch(tmp_path, line.port, shelf, path)
        assert (line.cuts, moved.interruptions) == (10, 10)
        assert line.bytes_down <= 1.05 * (len(whole(shelf)) - len(HEADER))
    assert path.read_bytes() == whole(shelf)
    assert moved.num_bytes_again == 0


def test_a_byte_that_changes_on_the_way_is_noticed_and_repaired(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    with FaultyLine(server.port) as line:
        line.flip_after(500_000)
        path = begun(tmp_path)
        moved = fetch(tmp_path, line.port, shelf, path)
    assert path.read_bytes() == whole(shelf)
    assert moved.interruptions == 1


def test_a_wrong_shard_is_fetched_again(tmp_path: Path, server: BlobServer, shelf: Shelf) -> None:
    shelf.faults.wrong = 2
    path = begun(tmp_path)
    moved = fetch(tmp_path, server.port, shelf, path)
    assert path.read_bytes() == whole(shelf)
    assert moved.num_bytes_again == 2 * SHARD_BYTES


def test_a_server_that_always_lies_is_told_so_and_the_good_shards_stay(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    shelf.faults.wrong = 10**6
    path = begun(tmp_path, shelf.shards[0])
    with pytest.raises(WrongBytes, match="shard 1 came 3 times with other bytes"):
        fetch(tmp_path, server.port, shelf, path)
    assert path.read_bytes() == HEADER + shelf.shards[0]
    assert len(shelf.asked) == 3


def test_answers_that_end_early_are_gone_on_with(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    shelf.faults.short = 3
    path = begun(tmp_path)
    moved = fetch(tmp_path, server.port, shelf, path)
    assert path.read_bytes() == whole(shelf)
    assert (moved.num_bytes_again, moved.interruptions) == (0, 3)


def test_bytes_beyond_a_shards_end_are_not_taken(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    expected, parcel = whole(shelf), parcel_of_shards(shelf)
    shelf.shards[0] += bytes(SHARD_BYTES)
    path = begun(tmp_path)
    site, told = hospital(tmp_path, server.port), list[Moved]()
    fetch_shards(site, ticket_for(shelf), parcel, path, start=len(HEADER), on_end=told.append)
    assert path.read_bytes() == expected
    assert [moved.interruptions for moved in told] == [0]


def test_a_server_that_knows_no_ranges_sends_the_shard_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    shelf.faults.no_ranges = True
    path = begun(tmp_path, shelf.shards[0][:1000])
    moved = fetch(tmp_path, server.port, shelf, path)
    assert path.read_bytes() == whole(shelf)
    assert moved.num_bytes_again == 1000


@pytest.mark.parametrize("status", [429, 503, 302])
def test_other_answers_are_reasons_to_ask_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf, status: int
) -> None:
    shelf.faults.answers = [status, status]
    path = begun(tmp_path)
    moved = fetch(tmp_path, server.port, shelf, path)
    assert path.read_bytes() == whole(shelf)
    assert moved.interruptions == 1


def test_a_server_that_starts_again_is_found_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    path, port = begun(tmp_path), server.port
    with FaultyLine(port) as line:
        line.limit(12e6)
        fetching = threading.Thread(target=fetch, args=[tmp_path, line.port, shelf, path])
        fetching.start()
        until(lambda: path.stat().st_size > SHARD_BYTES + 1000)
        server.close()
        asked = len(shelf.asked)
        with BlobServer(tmp_path, shelf, port):
            fetching.join(20)
    assert path.read_bytes() == whole(shelf)
    assert len(shelf.asked) > asked


def test_a_line_that_stands_still_counts_as_broken(
    tmp_path: Path, server: BlobServer, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_line, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(transfer_line, "CONNECT_SECONDS", 0.2)
    path = begun(tmp_path)
    with FaultyLine(server.port) as line:
        line.limit(12e6)
        fetching = threading.Thread(target=fetch, args=[tmp_path, line.port, shelf, path])
        fetching.start()
        until(lambda: path.stat().st_size > 100_000)
        line.stall()
        until(lambda: line.num_connections >= 3)
        line.heal()
        fetching.join(20)
    assert path.read_bytes() == whole(shelf)


def test_a_line_that_never_heals_ends_with_the_ticket(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    told: list[Moved] = []
    path = begun(tmp_path, shelf.shards[0])
    ticket = Ticket(links=ticket_for(shelf).links, token=TOKEN, expires=int(time.time()) + 1)
    server.close()
    with pytest.raises(TicketExpired, match="before the last byte was moved"):
        fetch_shards(
            hospital(tmp_path, server.port),
            ticket,
            parcel_of_shards(shelf),
            path,
            start=len(HEADER),
            on_end=told.append,
        )
    assert time.time() >= ticket.expires - 0.2
    assert [moved.interruptions for moved in told] == [1]
    assert path.read_bytes() == HEADER + shelf.shards[0]


def test_a_clock_that_is_ahead_does_not_stop_a_good_line(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    path = begun(tmp_path)
    fetch(tmp_path, server.port, shelf, path, seconds=-600)
    assert path.read_bytes() == whole(shelf)


@pytest.mark.parametrize(("status", "kind"), [(401, TicketExpired), (404, NotWanted)])
def test_what_the_coordinator_denies_is_not_asked_again(
    tmp_path: Path, server: BlobServer, shelf: Shelf, status: int, kind: type[Exception]
) -> None:
    shelf.faults.answers = [status]
    with pytest.raises(kind):
        fetch(tmp_path, server.port, shelf, begun(tmp_path))
    assert len(shelf.asked) == 1


def test_a_coordinator_of_another_authority_gets_no_token(
    tmp_path: Path, server: BlobServer, shelf: Shelf
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with BlobServer(other, Shelf()):
        pass
    with pytest.raises(Untrusted, match="certificate that localhost shows"):
        fetch(other, server.port, shelf, begun(tmp_path))
    assert shelf.tokens == set()


def test_a_bucket_is_checked_by_the_systems_authorities_and_sees_no_token(
    tmp_path: Path, server: BlobServer, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tuple(f"https://localhost:{server.port}/study/{number}?signed" for number in range(4))
    ticket = Ticket(links=links, token=TOKEN, expires=int(time.time()) + 60)
    site, path = hospital(tmp_path, 1, blob_hosts=("localhost",)), begun(tmp_path)
    with pytest.raises(Untrusted):
        fetch_shards(site, ticket, parcel_of_shards(shelf), path, start=len(HEADER))
    assert shelf.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    with pytest.raises(TicketExpired):  # the stand-in wants a token
        fetch_shards(site, ticket, parcel_of_shards(shelf), path, start=len(HEADER))
    assert (shelf.asked, shelf.tokens) == (["GET /study/0?signed"], {""})


def test_a_file_without_its_header_is_a_mistake(tmp_path: Path, shelf: Shelf) -> None:
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(ValueError, match="the first shard begins at 8"):
        fetch(tmp_path, 1, shelf, path)

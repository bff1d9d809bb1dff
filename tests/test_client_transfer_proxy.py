"""Out of a hospital's network through the proxy that its environment names."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client.transfer import patience
from client.transfer.leave import leave_shards
from client.transfer.proxy import Proxy, proxy_towards
from client.transfer.refusals import ProxyUnusable, TicketExpired
from federation.messages import Ticket
from federation.parcel import pack, shards_in_file
from model.tensors import InMemory
from tests.faults.blob_server import TOKEN, BlobServer, Shelf, hospital
from tests.faults.tiny_proxy import TinyProxy


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy in the environment, except what a test puts there."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy() -> Iterator[TinyProxy]:
    """One that lets everybody through."""
    running = TinyProxy(b"HTTP/1.1 200 Connection established\r\n\r\n")
    yield running
    running.close()


@pytest.fixture
def stern_proxy() -> Iterator[TinyProxy]:
    """One that lets nobody through."""
    running = TinyProxy(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    yield running
    running.close()


def leave_one(folder: Path, *, seconds: float = 60.0) -> Shelf:
    """Leave one shard with a coordinator at localhost; gives what arrived."""
    parcel = pack(folder / "change", InMemory({"w": np.ones(100_000, np.float32)}), "fp32")
    shelf = Shelf(expected=list(parcel.digests), sizes=list(parcel.sizes))
    ticket = Ticket(links=("/blobs/x/0",), token=TOKEN, expires=int(time.time() + seconds))
    with BlobServer(folder, shelf) as server:
        site = hospital(folder, server.port)
        leave_shards(site, ticket, parcel, shards_in_file(parcel, folder / "change"), [0])
    return shelf


def test_the_coordinator_is_reached_through_the_proxy_that_sees_no_token(
    tmp_path: Path, proxy: TinyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    shelf = leave_one(tmp_path)
    assert bytes(shelf.left[0]) == (tmp_path / "change").read_bytes()
    (head,) = proxy.asked
    assert head.startswith("CONNECT localhost:")
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in head
    assert TOKEN not in head
    assert all("me:" not in request for request in shelf.asked)


@pytest.mark.parametrize("direct", ["localhost", "*", "other.example, localhost"])
def test_no_proxy_is_asked_for_hosts_that_the_environment_exempts(
    tmp_path: Path, proxy: TinyProxy, monkeypatch: pytest.MonkeyPatch, direct: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", direct)
    assert len(leave_one(tmp_path).left) == 1
    assert proxy.asked == []


def test_a_proxy_that_lets_nobody_through_is_asked_until_the_ticket_ends(
    tmp_path: Path, stern_proxy: TinyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{stern_proxy.port}")
    with pytest.raises(TicketExpired):
        leave_one(tmp_path, seconds=0.5)
    assert len(stern_proxy.asked) >= 1


@pytest.mark.parametrize(
    ("variable", "address", "expected"),
    [
        ("HTTPS_PROXY", "http://proxy.example:3128", ("proxy.example", 3128)),
        ("https_proxy", "proxy.example:3128", ("proxy.example", 3128)),
        ("ALL_PROXY", "http://proxy.example", ("proxy.example", 80)),
        ("HTTP_PROXY", "http://proxy.example:3128", None),
    ],
)
def test_the_proxy_is_the_one_for_https(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str, expected: tuple[str, int] | None
) -> None:
    monkeypatch.setenv(variable, address)
    found = proxy_towards("coordinator.example", 8443)
    assert (found and (found.host, found.port)) == expected


@pytest.mark.parametrize("address", ["socks5://proxy:1080", "https://proxy:443", "http://proxy:x"])
def test_a_proxy_of_another_kind_is_refused_in_a_sentence_without_its_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address.replace("//", "//me:secret@"))
    with pytest.raises(ProxyUnusable, match="HTTPS_PROXY") as caught:
        proxy_towards("coordinator.example", 8443)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    shown = repr(Proxy(host="p", port=1, headers={"Proxy-Authorization": "Basic secret"}))
    assert "secret" not in shown

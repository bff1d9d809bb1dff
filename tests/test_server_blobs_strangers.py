"""Whoever has no leave, lies, or tries other paths gets nothing at the gateway, and learns nothing."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from server.blobs.boxes import boxes_path
from server.blobs.tickets import Right, load_key, sign_token
from tests.faults.gateway_process import (
    BOX,
    OFFER,
    SHARD,
    Gateway,
    status_of,
)


def announced_as(gateway: Gateway, body: bytes | Iterator[bytes]) -> int:
    """Status of leaving a body as the bytes from 1000 to 900999 of a shard."""
    headers = {
        "Authorization": f"Bearer {gateway.token(BOX, 'leave')}",
        "Content-Range": f"bytes 1000-900999/{len(SHARD)}",
    }
    with closing(gateway.connect()) as line:
        line.request("PUT", f"/blobs/{BOX}/0", body, headers, encode_chunked=True)
        return status_of(line)


def test_more_than_was_announced_is_not_taken(gateway: Gateway) -> None:
    gateway.put(0, 0, SHARD[:1000])
    assert announced_as(gateway, SHARD[1000:901_000] + b"more") == 400
    assert gateway.offset(0) == 1000


def test_a_body_that_does_not_tell_its_length_is_not_taken(gateway: Gateway) -> None:
    gateway.put(0, 0, SHARD[:1000])
    assert announced_as(gateway, iter([SHARD[1000:2000]])) == 411
    assert gateway.offset(0) == 1000


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 400),
        ("bytes 0-3", 400),
        ("bytes 0-4/1048576", 400),
        ("bytes 0-3/1048575", 400),
        ("bytes 0-3/1048577", 413),
        ("bytes 0-3/999999999999999", 413),
        ("bytes 1048574-1048577/1048578", 413),
        ("bytes 3-0/1048576", 400),
        ("items 0-3/1048576", 400),
    ],
)
def test_a_content_range_that_lies_is_not_believed(
    gateway: Gateway, header: str, status: int
) -> None:
    token = gateway.token(BOX, "leave")
    answer = gateway.call("PUT", f"/blobs/{BOX}/0", token, b"abcd", Content_Range=header)
    assert answer[0] == status
    assert gateway.offset(0) == 0


@pytest.mark.parametrize("wanted", ["bytes=1048576-", "bytes=7-3", "bytes=-7", "bytes=0-1,5-6"])
def test_bytes_that_are_not_there_are_not_fetched(gateway: Gateway, wanted: str) -> None:
    status, headers, content = gateway.get(0, wanted=wanted)
    assert (status, headers["Content-Range"], content) == (416, f"bytes */{2**20}", b"range")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
@pytest.mark.parametrize(
    "kind",
    [
        "none",
        "empty",
        "basic",
        "other space",
        "other right",
        "expired",
        "tampered",
        "foreign",
        "long",
    ],
)
def test_nobody_comes_in_without_the_right_token(gateway: Gateway, method: str, kind: str) -> None:
    right: Right = "fetch" if method == "GET" else "leave"
    wrong: Right = "leave" if method == "GET" else "fetch"
    space = OFFER if method == "GET" else BOX
    good = gateway.token(space, right)
    shown = {
        "none": "",
        "empty": "Bearer ",
        "basic": f"Basic {good}",
        "other space": f"Bearer {gateway.token('study.round-1.b', right)}",
        "other right": f"Bearer {gateway.token(space, wrong)}",
        "expired": f"Bearer {gateway.token(space, right, seconds=-1)}",
        "tampered": f"Bearer {good[:-2]}{'A' if good[-2] != 'A' else 'B'}{good[-1]}",
        "foreign": f"Bearer {sign_token(bytes(32), site='a', space=space, right=right, expires=2**40)}",
        "long": f"Bearer {good}{'A' * 10_000}",
    }[kind]
    status, _, content = gateway.call(method, f"/blobs/{space}/0", "", Authorization=shown)
    word = b"expired" if kind == "expired" else b"refused"
    assert (status, content) == (401, b"" if method == "HEAD" else word)


@pytest.mark.parametrize(
    "path",
    [
        f"/blobs/{BOX}/3",
        f"/blobs/{BOX}/000000",
        f"/blobs/{BOX}/0.part",
        f"/blobs/{BOX}/-1",
        f"/blobs/{BOX}/%D9%A1",
        f"/blobs/{BOX}/99999999999999999999",
        f"/blobs/{BOX}/box.json",
        f"/blobs/{BOX}/",
        f"/blobs/{BOX}",
        f"/blobs/{BOX}/0/",
        f"/blobs/{BOX}/0/0",
        f"/blobs//{BOX}/0",
        f"/blobs/../blobs/{BOX}/0",
        f"/blobs/{BOX}/../{BOX}/0",
        "/blobs/",
    ],
)
def test_a_path_that_names_no_shard_finds_nothing(gateway: Gateway, path: str) -> None:
    token = gateway.token(BOX, "leave")
    assert gateway.call("HEAD", path, token)[0] == 404


@pytest.mark.parametrize(
    "space",
    [
        "..",
        ".",
        "%2e%2e",
        "%2E%2E",
        "..%2f..%2ftls",
        "%00",
        "study%00",
        "%C3%A4",
        "A",
        "x" * 5000,
        "a%20b",
    ],
)
@pytest.mark.parametrize("right", ["fetch", "leave"])
def test_a_name_that_could_lead_elsewhere_leads_nowhere(
    gateway: Gateway, space: str, right: Right
) -> None:
    trap = boxes_path(gateway.state).parent / "box.json"
    trap.write_text('{"sizes": [9], "digests": ["0"]}')
    token = gateway.token(space.replace("%2e", ".").replace("%2E", "."), right)
    status = gateway.call("GET" if right == "fetch" else "HEAD", f"/blobs/{space}/0", token)[0]
    trap.unlink()
    assert status in {401, 404, 414}


def test_other_methods_find_nothing(gateway: Gateway) -> None:
    token = gateway.token(BOX, "leave")
    for method in ("POST", "DELETE", "PATCH", "OPTIONS", "MKCOL"):
        assert gateway.call(method, f"/blobs/{BOX}/0", token)[0] in {404, 405}


def test_the_log_has_no_secret_and_no_fault(gateway: Gateway) -> None:
    log = gateway.log_path.read_text()
    key = load_key(gateway.state)
    assert gateway.tokens
    assert not [token for token in gateway.tokens if token.rpartition(".")[2] in log]
    assert key.hex() not in log
    assert "Traceback" not in log

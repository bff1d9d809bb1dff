"""nginx with the configuration that comes with the program does for strangers and hospitals what the port itself does."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.processes import free_port
from federation.visit import PROTOCOL_HEADER
from server.blobs.boxes import Boxes, boxes_path
from server.gateway.calls import FLEET_PATHS
from tests.faults import nginx
from tests.faults.gateway_process import (
    SHARD,
    Gateway,
    begun_put,
    opened,
    running_gateway,
    shard_file,
    status_of,
    upload_offset,
    wait_for,
)
from tests.faults.raw_line import RawLine

pytestmark = pytest.mark.skipif(nginx.PROGRAM is None, reason="nginx is not installed here")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
PULL = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: a\r\n"
SOONER = {
    "client_header_timeout 10s": "client_header_timeout 1s",
    "lingering_timeout 2s": "lingering_timeout 200ms",
    "client_body_timeout 10s": "client_body_timeout 1s",
    "burst=60 nodelay": "burst=100 nodelay",
}


@pytest.fixture(scope="module")
def behind() -> Iterator[Gateway]:
    with running_gateway() as gateway, opened(gateway):
        yield gateway


@pytest.fixture(scope="module")
def gateway(behind: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("nginx")
    with nginx.nginx_before(behind, folder, free_port(), SOONER) as seen:
        yield seen


@pytest.fixture
def line(gateway: Gateway) -> Iterator[RawLine]:
    with RawLine(gateway.port, gateway.state / "tls" / "ca.crt") as line:
        yield line


def test_shards_are_left_and_fetched_as_without_it(gateway: Gateway) -> None:
    assert upload_offset(gateway.put(0, 0, SHARD[:1000])) == (202, 1000)
    assert upload_offset(gateway.put(0, 1000, SHARD[1000:])) == (201, len(SHARD))
    assert shard_file(gateway, 0).read_bytes() == SHARD
    status, headers, content = gateway.get(0, wanted="bytes=5-9")
    assert (status, headers["Content-Range"]) == (206, f"bytes 5-9/{len(SHARD)}")
    assert content == SHARD[5:10]


def test_a_shard_is_handed_on_while_it_comes(gateway: Gateway, behind: Gateway) -> None:
    with begun_put(gateway, 1, SHARD[:600_000]) as line:
        wait_for(lambda: behind.offset(1) > 300_000)
        line.send(SHARD[600_000:])
        assert status_of(line) == 201
    assert Boxes(boxes_path(gateway.state)).expected("study.round-1.a", 1)


@pytest.mark.parametrize("path", sorted(FLEET_PATHS))
def test_the_ten_calls_reach_the_gateway_with_one_method(gateway: Gateway, path: str) -> None:
    status, headers, content = gateway.call("POST", path, "", b"x")
    assert (status, content, headers["Fedcxr-Refusal"]) == (401, b"unsigned", "unsigned")
    assert gateway.call("GET", path, "")[0] == 404


@pytest.mark.parametrize(
    "path", ["/v1/control/start-run", "/v1/fleet/register-node", "/docs", "/health", "//healthz"]
)
def test_other_paths_end_in_nginx(gateway: Gateway, path: str) -> None:
    status, headers, _ = gateway.call("POST", path, "", b"x")
    assert (status, headers["Server"]) == (404, "nginx")


def test_health_tells_the_protocol_and_the_coordinators_time(gateway: Gateway) -> None:
    status, headers, _ = gateway.call("GET", "/healthz", "")
    assert (status, bool(headers[PROTOCOL_HEADER]), bool(headers["Date"])) == (503, True, True)


def test_joining_reaches_the_gateway(gateway: Gateway) -> None:
    assert gateway.call("GET", "/enrol/ca", "")[0] in {200, 503}


def test_only_the_newest_tls_is_spoken(gateway: Gateway) -> None:
    ca_path: Path = gateway.state / "tls" / "ca.crt"
    with pytest.raises(ssl.SSLError):
        RawLine(gateway.port, ca_path, newest=ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (PULL + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
        (PULL + b"Content-Length: 0\r\nContent-Length: 35\r\n\r\n", {400}),
        (PULL + b"Transfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n", {411}),
        (PULL + b"X: a\r\n Content-Length: 5\r\n\r\n", {400}),
        (PULL + b"flwr-timestamp: 1\r\nflwr-timestamp: 2\r\n\r\n", {400}),
        (b"GET https://127.0.0.1:8000/v1/control/x HTTP/1.1\r\nHost: a\r\n\r\n", {404}),
        (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n", {400, 405}),
        (b"GET /healthz HTTP/1.0\r\nHost: a\r\n\r\n", {505}),
        (b"GET /healthz HTTP/1.1\r\nUpgrade: h2c\r\nHost: a\r\n\r\n", {400}),
        (PULL + b"X: " + b"a" * 17_000 + b"\r\n\r\n", {400}),
        (PULL + b"Content-Length: 16777217\r\n\r\n", {413}),
        (b"POST /enrol/join HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", {413}),
    ],
)
def test_unclear_requests_are_refused(line: RawLine, sent: bytes, statuses: set[int]) -> None:
    line.send(sent.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    assert line.statuses()[0] in statuses


@pytest.mark.parametrize("begin", [b"", PULL + b"Content-Length: 100\r\n\r\n"])
def test_a_request_that_drips_in_ends_soon(line: RawLine, begin: bytes) -> None:
    line.send(begin or HEALTH[:10])
    assert line.statuses() in ([], [408])

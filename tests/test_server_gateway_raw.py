"""What a stranger who speaks to the port by the byte gets to hear: little, soon, and not for long."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from federation.certificates import issue_certificate, make_authority
from server.gateway.counters import read_access
from tests.faults.gateway_process import Gateway, running_gateway, wait_for
from tests.faults.raw_line import RawLine, statuses_in

LIMITS = """
max_connections: 40
max_connections_per_address: 8
connections_at_once: 1000
refusals_at_once: 10000
handshake_seconds: 1.0
head_seconds: 1.0
idle_seconds: 1.5
body_grace_seconds: 1.0
"""
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
PULL = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: a\r\n"
DOWN = 503
"""There is no SuperLink behind this gateway, so this is what an orderly look at its health is answered."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running_gateway(limits=LIMITS) as running:
        yield running


@pytest.fixture
def line(gateway: Gateway) -> Iterator[RawLine]:
    with call(gateway) as line:
        yield line


def call(gateway: Gateway, source: str = "127.0.0.2") -> RawLine:
    return RawLine(gateway.port, gateway.state / "tls" / "ca.crt", source=source)


def seconds_of(act: Callable[[], object]) -> float:
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def test_only_the_newest_tls_is_spoken(gateway: Gateway) -> None:
    ca_path = gateway.state / "tls" / "ca.crt"
    with RawLine(gateway.port, ca_path) as line:
        assert line.version == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        RawLine(gateway.port, ca_path, newest=ssl.TLSVersion.TLSv1_2)


def test_an_orderly_caller_is_answered_again_and_again_on_one_line(line: RawLine) -> None:
    line.send(HEALTH)
    first = line.hear_some()
    line.send(HEALTH)
    assert [*statuses_in(first), *line.statuses()] == [DOWN, DOWN]


def test_a_head_may_come_in_pieces(line: RawLine) -> None:
    line.drip(HEALTH, 0.005)
    assert line.statuses() == [DOWN]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (PULL + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (PULL + b"Content-Length: 0\r\nContent-Length: 35\r\n\r\n", 400),
        (PULL + b"Transfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n", 411),
        (PULL + b"X: a\r\n Content-Length: 5\r\n\r\n", 400),
        (b"GET https://127.0.0.1:8000/v1/control/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /healthz HTTP/1.1\r\nUpgrade: h2c\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /healthz HTTP/1.1\nHost: a\n\n", 400),
        (PULL + b"X: " + b"a" * 17_000 + b"\r\n\r\n", 431),
        (b"a" * 20_000, 431),
        (PULL + b"Content-Length: 99999999\r\n\r\n", 413),
        (PULL + b"Content-Length: 4\r\n\r\nabcd", 401),
    ],
)
def test_unclear_requests_hear_one_refusal_and_the_line_ends(
    line: RawLine, sent: bytes, status: int
) -> None:
    line.send(sent + HEALTH)
    assert line.statuses()[0] == status


def test_nothing_smuggled_behind_a_request_is_answered(line: RawLine) -> None:
    hidden = b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n"
    line.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + hidden)
    assert line.statuses() == [DOWN]


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding: identity\r\n",
        b"Content-Length: %d\r\nTRANSFER-ENCODING:chunked, identity\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding:\x0bchunked\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding : chunked\r\n",
        b"Content-Length: %d\r\nX: a\r\n Transfer-Encoding: chunked\r\n",
        b"Content-Length: %d\r\nX: a\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding:\r\n",
    ],
)
@pytest.mark.parametrize("reading", ["length", "chunks"])
def test_a_body_that_could_end_in_two_places_hides_no_second_request(
    line: RawLine, lengths: bytes, reading: str
) -> None:
    chunks = b"0\r\n\r\n"
    announced = len(chunks if reading == "length" else chunks + HEALTH)
    line.send(PULL + lengths % announced + b"\r\n" + chunks + HEALTH)
    heard = line.hear()
    assert statuses_in(heard) == [400]
    assert heard.endswith((b"\r\n\r\nlength", b"\r\n\r\nheader"))  # before any parser saw it


def test_a_head_that_drips_in_ends_soon_and_hears_why(line: RawLine) -> None:
    line.drip(HEALTH * 3, 0.05)
    assert line.statuses() == [408]


def test_a_body_that_drips_in_ends_soon(line: RawLine) -> None:
    line.send(PULL.replace(b"/v1/fleet/pull-messages", b"/enrol/join") + b"Content-Length: 100\r\n")
    line.send(b"\r\n")
    line.drip(b"a" * 100, 0.05)
    assert line.statuses() == [408]


def test_a_silent_line_ends_soon(line: RawLine) -> None:
    assert 0.5 < seconds_of(line.hear) < 6


def test_a_line_that_is_kept_for_later_ends_a_little_later(line: RawLine) -> None:
    line.send(HEALTH)
    assert 1.2 < seconds_of(line.hear) < 6


def test_whoever_never_agrees_on_keys_is_let_go(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as bare:
        assert seconds_of(lambda: bare.recv(1)) < 5


def test_an_address_has_so_many_lines_and_others_have_theirs(gateway: Gateway) -> None:
    with ExitStack() as lines:
        for _ in range(8):
            lines.enter_context(call(gateway, "127.0.0.3"))
        with pytest.raises(OSError, match=r"."):
            call(gateway, "127.0.0.3")
        with call(gateway, "127.0.0.4") as other:
            other.send(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert other.statuses() == [DOWN]
    wait_for(lambda: can_call(gateway, "127.0.0.3"))


def test_all_addresses_together_have_so_many_lines(gateway: Gateway) -> None:
    with ExitStack() as lines:
        for number in range(40):
            lines.enter_context(bare_line(gateway, f"127.0.1.{number}"))
        assert not can_call(gateway, "127.0.0.5")
    wait_for(lambda: can_call(gateway, "127.0.0.5"))


def bare_line(gateway: Gateway, source: str) -> "closing[socket.socket]":
    address = ("127.0.0.1", gateway.port)
    return closing(socket.create_connection(address, timeout=5, source_address=(source, 0)))


def can_call(gateway: Gateway, source: str) -> bool:
    try:
        call(gateway, source).__exit__(None, None, None)
    except OSError:
        return False
    return True


def test_a_renewed_certificate_is_shown_without_a_restart(gateway: Gateway) -> None:
    with call(gateway) as line:
        before = line.serial_number()
    tls = gateway.state / "tls"
    renewed = issue_certificate(tls, make_authority(tls), ("127.0.0.1", "another.name"))
    assert renewed.cert_path.parent == tls

    def shown() -> object:
        with call(gateway) as line:
            return line.serial_number()

    wait_for(lambda: shown() != before)


def test_what_happened_is_counted_for_whoever_watches(gateway: Gateway) -> None:
    with call(gateway) as line:
        line.send(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert line.statuses() == [DOWN]

    def counts() -> dict[str, int]:
        access = read_access(gateway.state)
        return dict(access.counts) if access else {}

    wait_for(lambda: counts().get("answered.other.503", 0) > 0)
    assert "127.0." not in json.dumps(counts())


def test_a_new_line_every_moment_is_too_much_from_one_address() -> None:
    with running_gateway(limits="connections_at_once: 5\nconnections_per_second: 0.1\n") as hasty:
        tried = [can_call(hasty, "127.0.0.2") for _ in range(7)]
        own = [can_call(hasty, "127.0.0.1") for _ in range(7)]
    assert (tried.count(True), all(own)) == (5, True)


def test_limits_that_cannot_be_used_are_said_and_nothing_is_served(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("max_connections: many\n")
    folder = str(tmp_path)
    files = ("--cert", folder, "--key", folder, "--ca", folder, "--state", folder)
    where = ("--host", "127.0.0.1", "--port", "0", "--upstream-port", "1")
    run = subprocess.run(
        [sys.executable, "-m", "server.gateway", *where, *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 2
    assert "gateway.yaml cannot be used" in run.stderr
    assert "max_connections" in run.stderr

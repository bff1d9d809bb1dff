"""What the public port tells its log: every refusal once, and nothing that a caller chose."""

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from server.gateway.counters import Counters
from server.gateway.journal import ANSWERS_SECONDS, MAX_CALLERS, REFUSALS_SECONDS, Journal
from tests.faults.gateway_app import Caller, request
from tests.faults.gateway_process import Gateway, running_gateway
from tests.faults.raw_line import STRANGER, RawLine

STRANGE = "192.0.2.7"
PLANTED = "DOE^JANE"
PROBE = "127.0.0.1"
"""Whoever started the gateway looks whether its port is open."""


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> Iterator[Journal]:
    with caplog.at_level(logging.INFO, logger="server"):
        yield Journal(Counters(tmp_path), clock=clock)


def test_the_same_refusals_of_a_caller_are_one_line_with_their_number(
    journal: Journal, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        journal.answered("fleet", 401, host=STRANGE, word="unsigned")
    journal.refused("address-full", host=STRANGE)
    journal.answered("fleet", 200, host=STRANGE)
    journal.tell()
    assert caplog.messages == []
    clock.seconds = REFUSALS_SECONDS
    journal.tell()
    journal.tell()
    assert caplog.messages == [
        f"refused a caller at {STRANGE}: fleet 401 unsigned, times: 3",
        f"refused a caller at {STRANGE}: address-full, times: 1",
    ]


def test_a_hospital_that_is_refused_is_named_and_that_is_a_warning(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.answered("fleet", 403, host=STRANGE, word="expired", site="st-mary")
    journal.answered("fleet", 403, host=STRANGE, word="unknown")
    journal.close()
    assert [record.levelname for record in caplog.records[:2]] == ["WARNING", "INFO"]
    assert caplog.messages[0] == f"refused st-mary at {STRANGE}: fleet 403 expired, times: 1"


def test_many_callers_fill_no_log(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1000):
        journal.refused("handshake", host=f"10.0.{number // 250}.{number % 250}")
    journal.close()
    assert len(caplog.messages) == MAX_CALLERS + 1
    others = 1000 - MAX_CALLERS
    assert caplog.messages[-1] == f"refused besides, of more callers than are told: {others}"


def test_what_was_answered_is_told_now_and_then_by_kind(
    journal: Journal, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for status in (200, 200, 503):
        journal.answered("fleet", status, host=STRANGE)
    journal.answered("blobs", 206, host=STRANGE)
    clock.seconds = ANSWERS_SECONDS
    journal.tell()
    assert caplog.messages == ["answered: blobs 206: 1, fleet 200: 2, fleet 503: 1"]


def test_a_call_that_the_application_refuses_is_told_with_its_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, str, str]] = []
    monkeypatch.setattr(
        Journal,
        "answered",
        lambda _s, _a, status, *, host, word, **_: told.append((status, host, word)),
    )
    refused: tuple[dict[str, str] | None, ...] = ({}, None)
    calls = [request("POST", "/v1/fleet/pull-messages", headers=each) for each in refused]
    Caller(upstream=lambda _: None, host=STRANGE, refusal="expired").ask_all(calls)  # type: ignore[arg-type,return-value]
    assert told == [(401, STRANGE, "unsigned"), (403, STRANGE, "expired")]


def test_a_real_port_keeps_its_refusals_among_the_events_and_nothing_that_callers_sent() -> None:
    with running_gateway() as gateway:
        for start in (b"POST /v1/fleet/pull-messages", f"GET /{PLANTED}".encode(), b"GET\x00"):
            say(gateway, start)
        with socket.create_connection(
            ("127.0.0.1", gateway.port), source_address=("127.0.0.3", 0)
        ) as bare:
            bare.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(OSError):
                bare.recv(100)
        gateway.stop()
        text = (gateway.state / "logs" / "events.jsonl").read_text()
        printed = gateway.log_path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    told = {line["event"] for line in lines if line["logger"] == "server.gateway.journal"}
    assert told - {f"refused a caller at {PROBE}: handshake, times: 1"} == {
        f"refused a caller at {STRANGER}: fleet 401 unsigned, times: 1",
        f"refused a caller at {STRANGER}: other 404, times: 1",
        f"refused a caller at {STRANGER}: head.400, times: 1",
        "refused a caller at 127.0.0.3: handshake, times: 1",
        "answered: fleet 401: 1, other 404: 1",
    }
    assert {line["side"] for line in lines} == {"coordinator"}
    assert PLANTED not in text + printed
    assert printed == ""


def say(gateway: Gateway, start: bytes) -> None:
    with RawLine(gateway.port, gateway.state / "tls" / "ca.crt") as line:
        line.send(
            start
            + b" HTTP/1.1\r\nHost: a\r\nUser-Agent: "
            + PLANTED.encode()
            + b"\r\nConnection: close\r\n\r\n"
        )
        assert line.statuses()

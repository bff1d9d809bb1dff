"""One connection between TLS and the programs that answer: bodies pass whole, and no faster than they are taken."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from server.gateway.limits import GatewayLimits
from server.gateway.line import GuardedLine

CHUNK = bytes(range(256)) * 1024
"""As much as one look at a fast line brings: 256 KiB."""


@dataclass
class Wire(asyncio.Transport):
    """A transport that keeps what is written and knows whether it is read."""

    written: bytes = b""
    is_read: bool = True

    def get_extra_info(self, _name: str, default: object = None) -> object:
        """Nothing is known of the other side."""
        return default

    def pause_reading(self) -> None:
        """Enough for now."""
        self.is_read = False

    def resume_reading(self) -> None:
        """More may come."""
        self.is_read = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """An answer, or a part of one."""
        self.written += bytes(data)

    def close(self) -> None:
        """Nothing more."""
        self.is_read = False

    def is_closing(self) -> bool:
        """It stays open."""
        return False


class KeepingLine(GuardedLine):
    """Keeps what its parser hands on."""

    handed: tuple[bytes, ...] = ()

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        self.handed += (body,)
        super().on_body(body)


@dataclass
class Taker:
    """A program that takes a body piece by piece, each when it is allowed to."""

    allowed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    pieces: list[bytes] = field(default_factory=list)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Take everything, then answer."""
        more = True
        while more:
            await self.allowed.acquire()
            message = await receive()
            self.pieces.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b""})


Play = Callable[[KeepingLine, Wire, Taker], Coroutine[Any, Any, None]]


def played(play: Play) -> None:
    """Play on a connection that was just made."""

    async def run() -> None:
        wire, taker = Wire(), Taker()
        config = uvicorn.Config(taker, http=KeepingLine, ws="none", lifespan="off", log_config=None)
        config.load()
        line = KeepingLine(
            config=config,
            server_state=ServerState(),
            limits=GatewayLimits(),
            on_refusal=lambda _host, status: pytest.fail(str(status)),
            on_lost=lambda: None,
        )
        line.connection_made(wire)
        try:
            await play(line, wire, taker)
        finally:
            line.connection_lost(None)

    asyncio.run(run())


def head(num_bytes: int) -> bytes:
    return b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % num_bytes


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_nobody_takes_is_not_read_on() -> None:
    async def play(line: KeepingLine, wire: Wire, taker: Taker) -> None:
        line.data_received(head(3 * len(CHUNK)))
        for number in range(3):
            line.data_received(CHUNK)
            await settle()
            assert not wire.is_read
            taker.allowed.release()
            await settle()
            assert taker.pieces == [CHUNK] * (number + 1)
            assert wire.is_read
        assert wire.written.startswith(b"HTTP/1.1 201 ")

    played(play)


def test_what_is_taken_in_time_is_handed_on_without_a_copy() -> None:
    async def play(line: KeepingLine, _wire: Wire, taker: Taker) -> None:
        taker.allowed.release()
        line.data_received(head(2 * len(CHUNK)) + CHUNK)
        await settle()
        assert taker.pieces == [CHUNK]
        assert taker.pieces[0] is line.handed[0]

    played(play)


@pytest.mark.parametrize("sizes", [[10], [1, 9], [3, 3, 4], [1] * 10])
def test_a_body_that_waited_in_pieces_is_whole(sizes: list[int]) -> None:
    body = b"0123456789"

    async def play(line: KeepingLine, wire: Wire, taker: Taker) -> None:
        line.data_received(head(len(body)))
        start = 0
        for size in sizes:
            line.data_received(body[start : start + size])
            start += size
            await settle()
        taker.allowed.release()
        await settle()
        assert taker.pieces == [body]
        assert wire.written.startswith(b"HTTP/1.1 201 ")

    played(play)

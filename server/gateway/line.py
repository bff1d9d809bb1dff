"""One connection: heads are read strictly, nothing is waited for long, and one request is on its way at a time.

Stands between TLS and uvicorn, which sees only what is in order: a whole head, then exactly the body it announced.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from server.gateway.heads import END, MAX_HEAD_BYTES, BadHead, body_length
from server.gateway.limits import GatewayLimits

LAST_WORD_SECONDS = 1.0
"""For whoever is refused to hear it."""

OnRefusal = Callable[[str, int], None]
"""Told the caller's address and the status."""


class GuardedLine(HttpToolsProtocol):
    """Ends a connection whose caller is too slow, unclear, or ahead of its turn.

    Args:
        config: uvicorn's.
        server_state: uvicorn's.
        limits: how long what may take.
        on_refusal: told of every request that was refused here.
        on_lost: called once, when the connection is over.
    """

    def __init__(
        self,
        *,
        config: uvicorn.Config,
        server_state: ServerState,
        limits: GatewayLimits,
        on_refusal: OnRefusal,
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self._limits = limits
        self._on_refusal = on_refusal
        self._on_lost = on_lost
        self._head = bytearray()
        self._body_left = 0
        self._is_answering = False
        """From the end of a head to the end of its answer."""
        self._is_over = False
        """Nothing more is read."""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keys are agreed on."""
        super().connection_made(transport)
        self._wait(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side hung up, or this one did."""
        self._is_over = True
        self._wait(None)
        super().connection_lost(exc)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Pass on what is in order, head by head and body by body."""
        while data and not self._is_over:
            data = self._take_body(data) if self._body_left else self._take_head(data)

    def on_body(self, body: bytes) -> None:
        """Some of a body came. What nobody took the last of is handed on as it is; uvicorn would copy it twice."""
        if self.cycle.body or self.cycle.response_complete:
            super().on_body(body)
            return
        self.cycle.body = body  # type: ignore[assignment]  # bytes(body) is then this very object
        if len(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """An answer is on its way out."""
        self._is_answering = False
        super().on_response_complete()
        if not self._body_left:
            self._wait(self._limits.idle_seconds)

    def _take_body(self, data: bytes) -> bytes:
        body, rest = (
            (data, b"")
            if len(data) <= self._body_left
            else (data[: self._body_left], data[self._body_left :])
        )
        self._body_left -= len(body)
        if not self._body_left:
            self._wait(None if self._is_answering else self._limits.idle_seconds)
        super().data_received(body)
        return rest

    def _take_head(self, data: bytes) -> bytes:
        if self._is_answering:
            # Out of its turn: it gets no answer, and the line ends after the one before.
            self._is_over = True
            self.shutdown()
            return b""
        if not self._head:
            self._wait(self._limits.head_seconds)
        begin = max(0, len(self._head) - len(END))
        self._head += data
        end = self._head.find(END, begin)
        if end < 0 or end > MAX_HEAD_BYTES:
            if len(self._head) > MAX_HEAD_BYTES:
                self._refuse(431, "head")
            return b""
        head, rest = bytes(self._head[: end + len(END)]), bytes(self._head[end + len(END) :])
        self._head.clear()
        self._begin(head)
        return rest

    def _begin(self, head: bytes) -> None:
        try:
            self._body_left = body_length(head)
        except BadHead as err:
            self._refuse(err.status, err.word)
            return
        limits = self._limits
        pace = self._body_left / limits.min_body_bytes_per_second
        self._wait(limits.body_grace_seconds + pace if self._body_left else None)
        self._is_answering = True
        super().data_received(head)

    def _wait(self, seconds: float | None) -> None:
        """End the connection in so many seconds unless something else is waited for by then."""
        if self._deadline is not None:
            self._deadline.cancel()
        late = self._too_late
        self._deadline = None if seconds is None else self.loop.call_later(seconds, late)

    def _too_late(self) -> None:
        if self._head or self._body_left:
            self._refuse(408, "slow")
        else:
            self._is_over = True
            self.transport.close()

    def _refuse(self, status: int, word: str) -> None:
        """Say so, unless an answer has begun, and hang up."""
        self._is_over = True
        self._wait(None)
        host: Any = self.client[0] if self.client else ""
        self._on_refusal(host, status)
        if not (self._is_answering and self.cycle.response_started):
            self.transport.write(_answer(status, word))
        self.transport.close()
        self._deadline = self.loop.call_later(LAST_WORD_SECONDS, self.transport.abort)


def _answer(status: int, word: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: text/plain\r\n"
        f"content-length: {len(word)}\r\nconnection: close\r\n\r\n{word}"
    ).encode()

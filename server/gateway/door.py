"""Lets callers in: counts them by address before a single byte is read, agrees on TLS 1.3, and hands the line over."""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from federation.identity import Identity
from server.gateway.buckets import OWN_MACHINE, Buckets, origin_of
from server.gateway.journal import Journal
from server.gateway.limits import GatewayLimits

logger = logging.getLogger(__name__)

GOODBYE_SECONDS = 5.0
"""For the other side to hear that the line ends."""
NO_ROOM_SECONDS = 0.5
"""Pause when the system has no room for another connection."""
BACKLOG = 512


class MakeLine(Protocol):
    """Builds what serves one connection."""

    def __call__(self, *, on_lost: Callable[[], None]) -> asyncio.Protocol:
        """It calls ``on_lost`` when the connection is over."""


class Crowd:
    """Who is inside, by address."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._limits = limits
        self._inside: Counter[str] = Counter()
        self._arrivals = Buckets(
            per_second=limits.connections_per_second, at_once=limits.connections_at_once
        )

    def __len__(self) -> int:
        return self._inside.total()

    def why_not(self, origin: str) -> str:
        """A word if one more from there is too many."""
        if len(self) >= self._limits.max_connections:
            return "full"
        if origin in OWN_MACHINE:
            return ""
        if self._inside[origin] >= self._limits.max_connections_per_address:
            return "address-full"
        return "" if self._arrivals.take(origin) else "address-hasty"

    def enter(self, origin: str) -> Callable[[], None]:
        """One more; call what is returned when it is gone, once or more often."""
        self._inside[origin] += 1
        is_inside = [True]

        def leave() -> None:
            if is_inside:
                is_inside.clear()
                self._inside[origin] -= 1
                if not self._inside[origin]:
                    del self._inside[origin]

        return leave


class Door:
    """The public port."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        identity: Identity,
        limits: GatewayLimits,
        journal: Journal,
        make_line: MakeLine,
    ) -> None:
        self._listener = listener
        self._identity = identity
        self._limits = limits
        self._journal = journal
        self._make_line = make_line
        self._crowd = Crowd(limits)
        self._arriving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Let callers in for as long as the block lasts."""
        letting_in = asyncio.create_task(self._let_in())
        try:
            yield
        finally:
            letting_in.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await letting_in
            self._listener.close()

    @property
    def num_inside(self) -> int:
        """Connections that are open."""
        return len(self._crowd)

    async def _let_in(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError as err:
                logger.warning("no connection can be taken now: %s", err.strerror)
                await asyncio.sleep(NO_ROOM_SECONDS)
                continue
            self._receive(connection, origin_of(address[0]))

    def _receive(self, connection: socket.socket, origin: str) -> None:
        why_not = self._crowd.why_not(origin)
        if why_not:
            self._journal.refused(why_not, host=origin)
            connection.close()
            return
        leave = self._crowd.enter(origin)
        arriving = asyncio.create_task(self._welcome(connection, origin, leave))
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def _welcome(
        self, connection: socket.socket, origin: str, leave: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: self._make_line(on_lost=leave),
                connection,
                ssl=self._identity.context,
                ssl_handshake_timeout=self._limits.handshake_seconds,
                ssl_shutdown_timeout=GOODBYE_SECONDS,
            )
        except OSError:
            self._journal.refused("handshake", host=origin)
            leave()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: if the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)  # noqa: FBT003  the socket's own signature
    return listener

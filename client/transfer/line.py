"""One HTTP/1.1 connection, kept alive, opened again when it broke; every trouble of the network is a `LineBroken`.

It keeps to the profile's speeds. When the hospital is paused, stopped or withdraws, it is cut in the middle of a byte.
"""

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from client.config import SiteConfig
from client.control.gate import gate_of_line
from client.control.pace import Pace
from client.control.watch import cut, watching
from client.node_status import NodeStatus
from client.transfer.places import Place
from client.transfer.proxy import proxy_towards
from client.transfer.refusals import NotWanted, ShutOut, TicketExpired, Untrusted
from federation.enrolment import REFUSAL_HEADER, Refused

CONNECT_SECONDS = 10.0
"""For each of: reaching the host, being let through by a proxy, and agreeing on keys."""
STALL_SECONDS = 30.0
"""A line on which nothing moved for so long is broken."""
PIECE_BYTES = 2**16
"""Moved at once: so much has to leave within `STALL_SECONDS`, and what came of so much is lost when the line breaks."""
UNSENT_BYTES = 2**17
"""The system takes so many bytes ahead of what the network carries; they are lost when the line breaks."""
MAX_ANSWER_BYTES = 2**16
"""What is read of an answer that should say nothing."""
UNDERSTOOD = frozenset({200, 201, 202, 204, 206, 409, 413, 416, 422})


class LineBroken(Exception):
    """The line or the other side did not do its part this time; the text says the kind of trouble alone."""


class Line:
    """A connection to one host at a time."""

    def __init__(self, site: SiteConfig) -> None:
        self._site, self._gate = site, gate_of_line(site)
        self._up = Pace(site.limits.upload_bytes_per_second)
        self._down = Pace(site.limits.download_bytes_per_second)
        self._connection: http.client.HTTPConnection | None = None
        self._reaches: tuple[str, int, bool] | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._watch = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._watch.enter_context(watching(self._gate.closed, self._cut))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.close()
        self.close()

    def close(self) -> None:
        """Give the connection up; the next request opens another one."""
        if self._answer is not None:
            self._answer.close()
        if self._connection is not None:
            self._connection.close()
        self._answer = self._connection = self._reaches = None

    def ask(
        self, method: str, place: Place, headers: Mapping[str, str], body: Iterable[memoryview] = ()
    ) -> http.client.HTTPResponse:
        """Send one request; the answer's body is yet to be read (`pieces`) if it is for a GET that succeeded.

        Raises:
            LineBroken: if it is worth another attempt.
            TicketExpired, NotWanted, ShutOut, Untrusted, ProxyUnusable: if it is not.
            NotTaken: if the hospital takes no part now.
        """
        self._gate.require_open()
        connection = self._connected(place)
        with _on_the_line(place):
            connection.putrequest(method, place.target, skip_accept_encoding=True)
            for name, value in {**_authorization(place), **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
        for piece in body:
            self._up.take(len(piece))
            if not _taken(connection, piece):
                break
        with _on_the_line(place):
            self._answer = answer = connection.getresponse()
            if method != "GET" or answer.status >= 300:
                answer.read(MAX_ANSWER_BYTES)
        _check_status(answer.status, place, answer.headers.get(REFUSAL_HEADER, ""))
        return answer

    def pieces(
        self, answer: http.client.HTTPResponse, place: Place, num_bytes: int
    ) -> Iterator[memoryview]:
        """An answer's body as it arrives, so many bytes at most; each piece lies where the one before it was.

        Raises:
            LineBroken: if it ends before.
        """
        buffer = memoryview(bytearray(PIECE_BYTES))
        while num_bytes > 0:
            with _on_the_line(place):
                count = answer.readinto(buffer[: min(PIECE_BYTES, num_bytes)])
            if not count:
                raise LineBroken("the answer ended early")
            self._down.take(count)
            num_bytes -= count
            yield buffer[:count]

    def _connected(self, place: Place) -> http.client.HTTPConnection:
        """The connection at hand, if it leads there and nothing is left to read on it; else a new one."""
        wanted = (place.host, place.port, place.is_plain)
        unread = self._answer is not None and not self._answer.isclosed()
        if unread or self._reaches != wanted:
            self.close()
        if self._connection is None or self._connection.sock is None:
            self._connection, self._reaches = _connect(self._site, place), wanted
            self._gate.require_open()  # closed meanwhile, with nothing here to be cut
        return self._connection

    def _cut(self) -> None:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            cut(connection.sock)


def _taken(connection: http.client.HTTPConnection, piece: memoryview) -> bool:
    """Whether the other side still listens; one that does not may have answered already."""
    try:
        connection.send(piece)
    except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
        return False
    except OSError as err:
        raise LineBroken(_kind(err)) from err
    return True


def _connect(site: SiteConfig, place: Place) -> http.client.HTTPConnection:
    connection = _unconnected(site, place)
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        with _on_the_line(place):
            connection.connect()
        undo.pop_all()
    connection.sock.settimeout(STALL_SECONDS)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return connection


def _unconnected(site: SiteConfig, place: Place) -> http.client.HTTPConnection:
    if place.is_plain:
        return http.client.HTTPConnection(place.host, place.port, timeout=CONNECT_SECONDS)
    trusted = ssl.create_default_context(cafile=None if place.is_bucket else site.ca_path)
    trusted.minimum_version = ssl.TLSVersion.TLSv1_2
    proxy = proxy_towards(place.host, place.port, profile=site.proxy)
    first = proxy or place
    connection = http.client.HTTPSConnection(
        first.host, first.port, timeout=CONNECT_SECONDS, context=trusted
    )
    if proxy is not None:
        headers = {"Host": f"{place.host}:{place.port}", **proxy.headers}
        connection.set_tunnel(place.host, place.port, headers)
    return connection


@contextmanager
def _on_the_line(place: Place) -> Iterator[None]:
    """What goes wrong inside is the network's doing, not the disk's."""
    try:
        yield
    except ssl.SSLCertVerificationError as err:
        raise Untrusted(place.host) from err
    except (OSError, http.client.HTTPException) as err:
        raise LineBroken(_kind(err)) from err


def _check_status(status: int, place: Place, word: str) -> None:
    if status == 403 and not place.is_bucket and word in set(Refused):
        raise ShutOut(NodeStatus(word))
    if status == 401 or (status == 403 and place.is_bucket):
        raise TicketExpired("it says so itself")
    if status == 404:
        raise NotWanted
    if status not in UNDERSTOOD:
        raise LineBroken("the coordinator's disk is full" if status == 507 else f"answer {status}")


def _authorization(place: Place) -> dict[str, str]:
    return {"Authorization": f"Bearer {place.token}"} if place.token else {}


def _kind(err: Exception) -> str:
    """Nothing but the class: the text may hold what a proxy or a host said."""
    return "nothing moved for too long" if isinstance(err, TimeoutError) else type(err).__name__

"""A stand-in for the coordinator's public port: shards in memory, over TLS, with the protocol's answers and any fault."""

import contextlib
import hashlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from client.config import SiteConfig
from federation.certificates import Certificate, issue_certificate, make_authority

TOKEN = "claims.signature"  # noqa: S105
PIECE_BYTES = 2**16
_Caller = socket.socket | tuple[bytes, socket.socket]


@dataclass(kw_only=True)
class Faults:
    """What goes wrong next; counts are used up."""

    wrong: int = 0
    """So many shards are sent with a wrong byte."""
    short: int = 0
    """So many answers end in the middle."""
    spoil: int = 0
    """So many shards that were left are found to be wrong."""
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers, whatever is asked."""
    no_ranges: bool = False


@dataclass(kw_only=True)
class Shelf:
    """What is there, and what was asked; outlives the server."""

    shards: list[bytes] = field(default_factory=list)
    """To be fetched."""
    expected: list[str] = field(default_factory=list)
    """Digests of what may be left."""
    sizes: list[int] = field(default_factory=list)
    left: dict[int, bytearray] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    ranges: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)


class BlobServer:
    """Listens on 127.0.0.1 while it is open."""

    def __init__(self, folder: Path, shelf: Shelf, port: int = 0) -> None:
        self.tls = certificate(folder)
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.shelf = shelf
        self._server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.context.load_cert_chain(self.tls.cert_path, self.tls.key_path)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, break what is open, and wait until nobody here takes another byte: as when a process is dead."""
        self._server.shutdown()
        self._server.server_close()
        until(lambda: not self._server.break_open())


def certificate(folder: Path) -> Certificate:
    """For localhost, by an authority inside the folder."""
    return issue_certificate(folder, make_authority(folder), ("localhost", "127.0.0.1"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    shelf: Shelf
    context: ssl.SSLContext

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.connections: set[ssl.SSLSocket] = set()
        self.serving: set[int] = set()
        """Numbers of the callers that a thread is there for."""

    def break_open(self) -> bool:
        """Break every connection; whether somebody is still served."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                # not the connection's own method, after which its thread would read what is still encrypted
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        return bool(self.serving)

    def process_request(self, request: _Caller, client_address: object) -> None:
        """Have a thread serve somebody who called."""
        self.serving.add(id(request))
        super().process_request(request, client_address)

    def process_request_thread(self, request: _Caller, client_address: object) -> None:
        """Serve somebody to the end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.serving.discard(id(request))

    def server_bind(self) -> None:
        """Take little at a time, so that little is lost with a connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that hang up are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    """An answer's second packet does not wait for the first one's receipt."""
    server: _Server

    def setup(self) -> None:
        self.request = self.server.context.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        )
        self.server.connections.add(self.request)
        try:
            self.request.do_handshake()
        except (OSError, ValueError):  # broken meanwhile
            self.server.connections.discard(self.request)
            self.request.close()
            raise
        super().setup()

    def finish(self) -> None:
        self.server.connections.discard(self.request)
        super().finish()
        self.request.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    @property
    def shelf(self) -> Shelf:
        return self.server.shelf

    @property
    def number(self) -> int:
        return int(self.path.rpartition("/")[2])

    def _ready(self) -> bool:
        """Note the request; answer here if a fault or a wrong token is due."""
        self.shelf.asked.append(f"{self.command} {self.path}")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.shelf.tokens.add(token)
        status = self.shelf.faults.answers.pop(0) if self.shelf.faults.answers else 0
        if not status and token != TOKEN:
            status = 401
        if status:
            self._answer(status, close=self.command == "PUT")
        return not status

    def _answer(self, status: int, *, offset: int | None = None, close: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if offset is not None:
            self.send_header("Upload-Offset", str(offset))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()

    def do_GET(self) -> None:
        if not self._ready():
            return
        if self.number >= len(self.shelf.shards):
            self._answer(404)
            return
        shard, faults = self.shelf.shards[self.number], self.shelf.faults
        wanted = self.headers.get("Range", "")
        self.shelf.ranges.append(wanted)
        first = int(wanted[6:-1]) if wanted and not faults.no_ranges else 0
        if faults.wrong:
            faults.wrong -= 1
            shard = shard[:-1] + bytes([shard[-1] ^ 1])
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(shard) - first))
        self.end_headers()
        if faults.short:
            faults.short -= 1
            self.close_connection = True
            shard = shard[: (first + len(shard)) // 2]
        self.wfile.write(memoryview(shard)[first:])
        if self.close_connection:
            with contextlib.suppress(OSError):
                self.request.unwrap()  # a proper end, as from a proxy that had enough

    def do_HEAD(self) -> None:
        if not self._ready():
            return
        if self.number >= len(self.shelf.expected):
            self._answer(404)
            return
        self._answer(200, offset=len(self.shelf.left.get(self.number, b"")))

    def do_PUT(self) -> None:
        if not self._ready():
            return
        there = self.shelf.left.setdefault(self.number, bytearray())
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", self.headers.get("Content-Range", ""))
        assert span is not None
        first, last, total = map(int, span.groups())
        if first != len(there) or total != self.shelf.sizes[self.number]:
            self._take(bytearray(), last + 1 - first)
            self._answer(409 if first != len(there) else 413, offset=len(there))
            return
        self._take(there, last + 1 - first)
        self._settle(there, total)

    def _take(self, there: bytearray, num_bytes: int) -> None:
        """Keep what comes, however it ends."""
        while num_bytes and (content := self.rfile.read1(min(PIECE_BYTES, num_bytes))):
            there += content
            num_bytes -= len(content)

    def _settle(self, there: bytearray, total: int) -> None:
        if len(there) < total:
            self._answer(202, offset=len(there))
            return
        if self.shelf.faults.spoil:
            self.shelf.faults.spoil -= 1
            there[0] ^= 1
        if hashlib.sha256(there).hexdigest() == self.shelf.expected[self.number]:
            self._answer(201, offset=total)
            return
        there.clear()
        self._answer(422, offset=0)


def hospital(folder: Path, port: int, *, blob_hosts: tuple[str, ...] = ()) -> SiteConfig:
    """One that knows a coordinator on this port, with its authority in this folder."""
    return SiteConfig(
        site_name="a",
        coordinator=f"localhost:{port}",
        ca_path=folder / "ca.crt",
        data_path=folder,
        state_path=folder,
        image_size=32,
        blob_hosts=blob_hosts,
    )


def until(happened: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.002)

"""Serving a console's pages until somebody stops it, with or without TLS."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp

from federation.certificates import Certificate
from federation.identity import Identity

START_SECONDS = 15.0
LOOK_SECONDS = 0.05
MAX_CONNECTIONS = 64
MAX_HEADER_BYTES = 2**14


class PortTaken(RuntimeError):
    """Another program listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"the console cannot listen on {host} port {port}: stop the program that does, or choose another with "
            "--port"
        )


class ConsoleDidNotStart(RuntimeError):
    """The server ended before it served."""

    def __init__(self) -> None:
        super().__init__("the console did not start: read what was written above this line")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a console is served, held open for it."""

    listener: socket.socket
    host: str
    port: int


@contextlib.contextmanager
def taken_place(host: str, port: int) -> Iterator[Place]:
    """Hold a port; 0 chooses one.

    Raises:
        PortTaken: another program has it, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as err:
            raise PortTaken(host, port) from err
        yield Place(listener=listener, host=host, port=int(listener.getsockname()[1]))


@contextlib.contextmanager
def serving(app: ASGIApp, place: Place, *, tls: Certificate | None) -> Iterator[None]:
    """Serve in a thread of its own; a renewed certificate is taken up when somebody connects.

    Raises:
        ConsoleDidNotStart: if it does not come up.
    """
    server = uvicorn.Server(_config(app, tls))
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [place.listener]}, name="console", daemon=True
    )
    thread.start()
    try:
        _await_start(server, thread)
        yield
    finally:
        server.should_exit = True
        thread.join()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise ConsoleDidNotStart
        time.sleep(LOOK_SECONDS)


def _config(app: ASGIApp, tls: Certificate | None) -> uvicorn.Config:
    identity = Identity(tls.cert_path, tls.key_path) if tls else None
    return uvicorn.Config(
        app,
        ssl_context_factory=(lambda *_: identity.greeting()) if identity else None,
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # a caller must not choose the address by which wrong passwords are counted
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )

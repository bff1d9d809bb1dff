"""Noticing within a fraction of a second that the hospital takes no part any more, whatever else a process is doing.

What is on its way then is cut: the connection is reset, so that bytes which the system holds for it are dropped
instead of sent.
"""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_SECONDS = 0.1
MAX_DESCRIPTORS = 4096
_RESET = struct.pack("ii", 1, 0)  # linger for no time: what was not sent is dropped


@contextmanager
def watching(is_closed: Callable[[], object], on_close: Callable[[], None]) -> Iterator[None]:
    """Call ``on_close`` from another thread whenever ``is_closed`` begins to hold, until the block ends."""
    over = threading.Event()

    def look() -> None:
        was_closed = False
        while not over.wait(LOOK_SECONDS):
            now_closed = bool(is_closed())
            if now_closed and not was_closed:
                on_close()
            was_closed = now_closed

    thread = threading.Thread(target=look, name="watch-orders", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def cut(connection: socket.socket) -> None:
    """End what goes over a connection, from any thread; its owner fails with `OSError` and closes it."""
    with contextlib.suppress(OSError):
        _drop_unsent(connection)
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS has a shutdown of its own


def cut_all_connections() -> None:
    """Before this process ends: have everything that its connections still hold dropped when it does."""
    for number in range(MAX_DESCRIPTORS):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as connection:
            _drop_unsent(connection)


def _drop_unsent(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

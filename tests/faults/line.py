"""A bad line: a forwarder on loopback that cuts, stalls, slows down and garbles what passes, and counts it."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

PIECE_BYTES = 2**14
BUFFER_BYTES = 2**16
"""What a cut swallows on the way: little, as on a real line, unlike loopback's megabytes."""


class FaultyLine:
    """Forwards ``port`` on 127.0.0.1 to ``target`` while it is open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._open: set[socket.socket] = set()
        self._listener = _listen()
        self.port: int = self._listener.getsockname()[1]
        self.bytes_up = self.bytes_down = 0
        """Towards the target, and back; what passed, TLS included."""
        self.cuts = self.num_connections = 0
        """How often connections were cut, and how many there were in all."""
        self._is_cut = False
        self._until_cut: list[int] = []
        self._until_flip: list[int] = []
        self._bytes_per_second = float("inf")
        self._free_at = 0.0
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

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
        """End for good."""
        self.cut()
        self._flows.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """Break every connection, and every new one at once, until it heals."""
        with self._lock:
            self._is_cut = True
            self._break()

    def stall(self) -> None:
        """Nothing passes, nothing breaks, until it heals: as when packets are lost."""
        self._flows.clear()

    def heal(self) -> None:
        """Let everything pass again."""
        self._is_cut = False
        self._flows.set()

    def cut_after(self, num_bytes: int, *, times: int = 1) -> None:
        """Break every connection after so many more bytes, so many times; new ones pass."""
        with self._lock:
            self._until_cut = [num_bytes] * times

    def flip_after(self, num_bytes: int) -> None:
        """Garble one byte after so many more."""
        with self._lock:
            self._until_flip = [num_bytes]

    def limit(self, bytes_per_second: float) -> None:
        """Both directions share so much from now on."""
        self._bytes_per_second = bytes_per_second

    def _break(self) -> None:
        self.cuts += bool(self._open)
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.num_connections += 1
            threading.Thread(target=self._connect, args=[near], daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        """Join a caller to the target, or hang up."""
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self._flows.wait()
        with near, far:
            try:
                far.connect(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
                if self._is_cut:
                    self._break()
            up = threading.Thread(target=self._pump, args=[near, far, True], daemon=True)
            up.start()
            self._pump(far, near, False)  # noqa: FBT003
            up.join()
            with self._lock:
                self._open -= {near, far}

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:  # noqa: FBT001
        """Forward one direction until one end goes."""
        with contextlib.suppress(OSError):
            while content := source.recv(PIECE_BYTES):
                self._flows.wait()
                sink.sendall(self._toll(content, up=up))
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _toll(self, content: bytes, *, up: bool) -> bytes:
        """Count, slow down, break and garble."""
        with self._lock:
            if up:
                self.bytes_up += len(content)
            else:
                self.bytes_down += len(content)
            if _spend(self._until_cut, len(content)):
                self._break()
            if _spend(self._until_flip, len(content)):
                content = content[:-1] + bytes([content[-1] ^ 1])
            self._free_at = max(self._free_at, time.monotonic())
            self._free_at += len(content) / self._bytes_per_second
            wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        return content


def _spend(until: list[int], num_bytes: int) -> bool:
    """Count down to the next event; whether it is due."""
    if not until:
        return False
    until[0] -= num_bytes
    if until[0] > 0:
        return False
    until.pop(0)
    return True


def _listen() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener

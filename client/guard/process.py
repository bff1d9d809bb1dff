"""The program in which files are read, apart from everything else: a server that forks, and workers.

The server has imported the reader and does nothing but fork workers and end them on request, so that a
new worker costs milliseconds. It runs no thread and touches no file. A worker reads files one after the
other under limits that the system enforces. Both end when the process that started the server does.
"""

import gc
import os
import pickle
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import client.dicom.reader  # noqa: F401  workers must find it loaded
from client.dicom.outcome import Outcome
from client.guard.answer import pack
from federation.processes import die_with_parent

REQUEST = struct.Struct("<i")
"""To the server: FORK with the worker's end of a channel, or the process to end."""
REPLY = struct.Struct("<i")
"""From the server: the new process, the wait status of the ended one, or NOBODY."""
FORK = 0
NOBODY = -1
IDLE_SECONDS = 60.0
"""A server without workers that nobody asks for anything this long ends."""

LENGTH = struct.Struct("<Q")
"""Goes before every message between pool and worker: its number of bytes."""
BEGUN = b""
"""What a worker says before it opens a file; the next thing it says is the file's outcome."""
_MIN_BYTES = 2**29


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one file may cost."""

    max_seconds: float = 120.0
    """Time until its worker is killed."""
    max_bytes: int = 3 * 2**29
    """Address space of its worker, about 0.2 GB of which is the program; beyond it, memory is refused."""

    def __post_init__(self) -> None:
        if self.max_seconds <= 0 or self.max_bytes < _MIN_BYTES:
            raise ValueError(f"a file gets more than 0 seconds and at least {_MIN_BYTES} bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a worker is told once, before the first file."""

    read: Callable[[Path], Outcome]
    limits: Limits


def main() -> None:
    """Serve the socket whose number is the only argument."""
    # Whoever started the server decides when it ends, also when a terminal interrupts everybody.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))


def _serve(control: socket.socket) -> None:
    """Fork and end workers until the other side is gone or has long had nothing to ask."""
    workers: set[int] = set()
    control.settimeout(IDLE_SECONDS)
    while True:
        try:
            request, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 1)
        except TimeoutError:
            if workers:
                continue
            return
        if not request:
            return
        (process,) = REQUEST.unpack(request)
        if process == FORK:
            reply = _fork(control, *descriptors)
            workers |= {reply} - {NOBODY}
        else:
            reply = _end(process) if process in workers else NOBODY
            workers.discard(process)
        control.sendall(REPLY.pack(reply))


def _fork(control: socket.socket, descriptor: int) -> int:
    server = os.getpid()
    try:
        process = os.fork()
    except OSError:
        process = NOBODY
    if process:
        os.close(descriptor)
        return process
    code = 1
    try:
        control.close()
        die_with_parent()
        if os.getppid() == server:
            _work(socket.socket(fileno=descriptor))
            code = 0
    finally:
        os._exit(code)


def _end(process: int) -> int:
    """Kill a worker, if it still lives, and tell what it died of."""
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def _work(channel: socket.socket) -> None:
    """Read the files that the pool names; whatever the reader raises ends this process."""
    hear = partial(_receive, channel.makefile("rb"))
    order: Order = pickle.loads(hear() or b"")  # noqa: S301  from the pool, which started us
    _limit(order.limits)
    while name := hear():
        _send(channel, BEGUN)
        _send(channel, pack(order.read(Path(os.fsdecode(name)))))


def _receive(channel: BinaryIO) -> bytes:
    """The next message; empty once the pool is gone or has closed the channel."""
    start = channel.read(LENGTH.size)
    return channel.read(LENGTH.unpack(start)[0]) if len(start) == LENGTH.size else b""


def _send(channel: socket.socket, message: bytes) -> None:
    channel.sendall(LENGTH.pack(len(message)))
    channel.sendall(message)


def _limit(limits: Limits) -> None:
    """From here on this process can neither take much memory nor leave anything on a disk."""
    for kind, most in (
        (resource.RLIMIT_AS, limits.max_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, allowed = resource.getrlimit(kind)
        bound = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(kind, (bound, bound))

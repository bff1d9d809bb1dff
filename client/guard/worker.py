"""One worker process, as seen by the pool that gives it files."""

import contextlib
import math
import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Self, TypeVar

from client.guard.answer import NoOutcome
from client.guard.process import BEGUN, LENGTH, Order
from client.guard.server import SERVER

Tag = TypeVar("Tag")

LOOK_AHEAD = 2
"""Files that a worker holds: the one it reads, and the next."""
MAX_FILES = 500
"""A worker is retired after so many, so that memory which a library leaks is never a good file's fault."""
MAX_START_SECONDS = 120.0
"""For a worker to take its order and to open the first file, on a machine that has much else to do."""
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Task(Generic[Tag]):
    """One file to read."""

    tag: Tag
    path: Path
    """Absolute: workers live in another folder."""
    num_deaths: int = 0
    """Workers that died over it."""


@dataclass(kw_only=True, slots=True, eq=False)
class Worker(Generic[Tag]):
    """A process that reads one file after the other."""

    process: int
    channel: socket.socket
    is_reading: bool = False
    """Whether it has opened the first of its files; if not, what becomes of it is not that file's doing."""
    num_files: int = 0
    """Files given to it so far."""
    num_answers: int = 0
    heard: float = field(default_factory=time.monotonic)
    """When it last said something, or got something to do."""
    tasks: deque[Task[Tag]] = field(default_factory=deque)
    """What it was given; it reads the first."""
    received: bytearray = field(default_factory=bytearray)
    """The beginning of its next message."""

    @classmethod
    def start(cls, order: Order) -> Self:
        """Have one forked, and tell it what it will do.

        Raises:
            ServerGone: the system starts no process.
        """
        process, channel = SERVER.fork()
        worker = cls(process=process, channel=channel)
        worker.say(pickle.dumps(order))
        return worker

    @property
    def has_room(self) -> bool:
        """Whether it takes one more file."""
        return len(self.tasks) < LOOK_AHEAD and self.num_files < MAX_FILES

    @property
    def is_retired(self) -> bool:
        """Whether it has done all that it will ever do."""
        return not self.tasks and self.num_files >= MAX_FILES

    def deadline(self, max_seconds: float) -> float:
        """When, on the monotonic clock, it will have been silent for too long over what it has to do."""
        if not self.tasks:
            return math.inf
        return self.heard + (max_seconds if self.is_reading else MAX_START_SECONDS)

    def give(self, task: Task[Tag]) -> None:
        """Let it read one more file after those that it has."""
        if not self.tasks:
            self.heard = time.monotonic()
        self.tasks.append(task)
        self.num_files += 1
        self.say(os.fsencode(task.path))

    def listen(self) -> bool:
        """Take in what it has said; False if it is dead."""
        try:
            chunk = self.channel.recv(_CHUNK_BYTES)
        except OSError:
            return False
        self.heard = time.monotonic()
        self.received += chunk
        return bool(chunk)

    def answers(self, longest: int) -> Iterator[bytes]:
        """What it says of its files, as far as that has come in whole; each is to be followed by `finish`.

        Raises:
            NoOutcome: a message is longer than this many bytes, or answers nothing.
        """
        while (message := self._next_message(longest)) is not None:
            if message == BEGUN:
                self.is_reading = True
            elif self.is_reading and self.tasks:
                yield message
            else:
                raise NoOutcome

    def finish(self) -> Task[Tag]:
        """The file that it has answered for."""
        self.is_reading = False
        self.num_answers += 1
        return self.tasks.popleft()

    def end(self) -> int:
        """Kill it, if it still lives; gives the signal that it died of, 0 if it ended by itself."""
        self.channel.close()
        return SERVER.end(self.process)

    def say(self, message: bytes) -> None:
        """Send a message; that nobody is there to hear it is noticed by listening."""
        with contextlib.suppress(OSError):
            self.channel.sendall(LENGTH.pack(len(message)) + message)

    def _next_message(self, longest: int) -> bytes | None:
        if len(self.received) < LENGTH.size:
            return None
        end = LENGTH.size + LENGTH.unpack_from(self.received)[0]
        if end > LENGTH.size + longest:
            raise NoOutcome
        if len(self.received) < end:
            return None
        message = bytes(self.received[LENGTH.size : end])
        del self.received[:end]
        return message

"""Files of unknown content -> their outcomes; none can crash, hang or exhaust the process that asks.

Files are read in worker processes (`client.guard`). A worker that takes too long or does not answer
properly is killed, one that dies is replaced, and what comes back are outcomes and nothing else.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Generic, Protocol

from client.dicom.outcome import Outcome
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection
from client.guard.answer import NoOutcome, max_bytes, unpack
from client.guard.process import Limits, Order
from client.guard.server import ServerGone
from client.guard.worker import Tag, Task, Worker

DEFAULT_LIMITS = Limits()
MAX_DEATHS = 2
"""Workers that may die over a file: the file before it, or the system, may have been to blame once."""
MAX_KILLS_IN_A_ROW = 10
"""Workers that somebody else killed, without an answer in between, before the machine is to blame."""
_KILLED_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM}


class ReaderKilled(RuntimeError):
    """The operating system does not let files be read."""

    def __init__(self) -> None:
        super().__init__(
            "The processes that read files were killed again and again, most likely because memory ran "
            "out. The operator frees memory and types the same command again."
        )


class Reader(Protocol):
    """What a worker does with a file: `client.dicom.reader.read_file`, or its stand-in in a test."""

    def __call__(self, path: Path, *, image_size: int, policy: ReadPolicy) -> Outcome:
        """Read one file; a worker finds the function by its module and name."""
        ...


def usable_cpus() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_all(
    jobs: Iterator[tuple[Tag, Path]],
    *,
    image_size: int,
    policy: ReadPolicy,
    num_workers: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    read: Reader = read_file,
) -> Generator[tuple[Tag, Outcome], None, None]:
    """Read files in several processes at once, and give each outcome as it comes, in any order.

    A job is taken only when a worker has room for it, so its file may be made on demand, and be removed
    once the outcome is there. Use it inside `contextlib.closing` where it may not be read to its end:
    closing it ends the workers.

    Args:
        jobs: anything that tells the file from others, and the file.
        image_size: side of the pictures, in pixels.
        policy: what is accepted.
        num_workers: as many as there are usable processors if None.
        limits: what one file may cost; a file that costs more has an outcome like any other.
        read: the function that reads a file.

    Raises:
        ReaderKilled: workers cannot be started, or do not live, whatever they read.
    """
    pool = _Pool[Tag](
        order=Order(read=partial(read, image_size=image_size, policy=policy), limits=limits),
        image_size=image_size,
        num_workers=num_workers or usable_cpus(),
    )
    tasks = (Task(tag=tag, path=path.absolute()) for tag, path in jobs)
    try:
        while pool.hand_out(tasks):
            yield from pool.collect()
    finally:
        pool.close()


@dataclass(kw_only=True, slots=True)
class _Pool(Generic[Tag]):
    """The workers, and what is to be tried again."""

    order: Order
    image_size: int
    num_workers: int
    workers: list[Worker[Tag]] = field(default_factory=list)
    again: deque[Task[Tag]] = field(default_factory=deque)
    kills_in_a_row: int = 0

    def hand_out(self, tasks: Iterator[Task[Tag]]) -> bool:
        """Give out as much as there is room for; False once nothing is under way."""
        for worker in [worker for worker in self.workers if worker.is_retired]:
            self._end(worker)
        while self._has_room():
            task = self.again.popleft() if self.again else next(tasks, None)
            if task is None:
                break
            self._least_busy().give(task)
        return any(worker.tasks for worker in self.workers)

    def collect(self) -> Iterator[tuple[Tag, Outcome]]:
        """Wait until something happens, and give what came of it."""
        workers = {worker.channel: worker for worker in self.workers}
        talking = wait(list(workers), self._patience())
        # Judged before anything is given out: whoever takes outcomes may take its time over them.
        now = time.monotonic()
        silent = [worker for channel, worker in workers.items() if channel not in talking]
        late = [w for w in silent if w.deadline(self.order.limits.max_seconds) <= now]
        for channel, worker in workers.items():
            if channel in talking:
                yield from self._hear(worker)
        for worker in late:
            yield from self._replace(worker, Reason.TOO_SLOW)

    def close(self) -> None:
        """End every worker, whatever it is doing."""
        for worker in list(self.workers):
            self._end(worker)

    def _has_room(self) -> bool:
        return len(self.workers) < self.num_workers or any(w.has_room for w in self.workers)

    def _least_busy(self) -> Worker[Tag]:
        """A worker with room; a new one if all have something to do and there may be one more."""
        free = [worker for worker in self.workers if worker.has_room]
        least = min(free, key=lambda worker: len(worker.tasks), default=None)
        if least is None or (least.tasks and len(self.workers) < self.num_workers):
            return self._start()
        return least

    def _start(self) -> Worker[Tag]:
        try:
            worker = Worker[Tag].start(self.order)
        except ServerGone:
            raise ReaderKilled from None
        self.workers.append(worker)
        return worker

    def _patience(self) -> float:
        """Seconds until the first worker is late, unless it says something."""
        limit = self.order.limits.max_seconds
        return max(0.0, min(w.deadline(limit) for w in self.workers) - time.monotonic())

    def _hear(self, worker: Worker[Tag]) -> Iterator[tuple[Tag, Outcome]]:
        if not worker.listen():
            yield from self._replace(worker, Reason.READER_DIED)
            return
        try:
            for answer in worker.answers(max_bytes(self.image_size)):
                outcome = unpack(answer, image_size=self.image_size)
                self.kills_in_a_row = 0
                yield worker.finish().tag, outcome
        except NoOutcome:
            yield from self._replace(worker, Reason.READER_DIED)

    def _replace(self, worker: Worker[Tag], reason: Reason) -> Iterator[tuple[Tag, Outcome]]:
        """End a worker and keep what it had for others, but in the end refuse the file that it was reading."""
        died_of = self._end(worker)
        from_outside = reason is Reason.READER_DIED and died_of in _KILLED_FROM_OUTSIDE
        if from_outside or not (worker.is_reading or worker.num_answers):
            self._count_kill()
        suspect = worker.tasks.popleft() if worker.is_reading else None
        self.again.extendleft(reversed(worker.tasks))
        if suspect is None:
            return
        if reason is Reason.READER_DIED and suspect.num_deaths + 1 < MAX_DEATHS:
            self.again.appendleft(replace(suspect, num_deaths=suspect.num_deaths + 1))
        else:
            yield suspect.tag, Rejection(reason=reason)

    def _count_kill(self) -> None:
        self.kills_in_a_row += 1
        if self.kills_in_a_row >= MAX_KILLS_IN_A_ROW:
            raise ReaderKilled

    def _end(self, worker: Worker[Tag]) -> int:
        self.workers.remove(worker)
        return worker.end()

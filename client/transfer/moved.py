"""What was moved, and at what price: counted while it happens, told once at the end."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)

LOG_SECONDS = 30.0
"""Pause between two lines about a transfer that goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What one transfer came to, also if it was not finished."""

    verb: str
    """``fetched`` or ``left``."""
    num_bytes: int
    """Bytes of shards that came in, or that were handed to the line, repetitions included."""
    num_bytes_again: int
    """Bytes that had been moved before, now or by an earlier attempt, and had to be moved again."""
    seconds: float
    interruptions: int
    """How often the line broke, or the other side asked for patience, after it had worked."""


OnEnd = Callable[[Moved], None]


def log_moved(moved: Moved) -> None:
    """One line about a whole transfer."""
    logger.info(
        "%s %d bytes (%d of them again) in %.1f s, %d interruptions",
        *(moved.verb, moved.num_bytes, moved.num_bytes_again, moved.seconds, moved.interruptions),
    )


class Meter:
    """Counts one transfer."""

    def __init__(self, verb: str, num_wanted: int) -> None:
        self._verb, self._num_wanted = verb, num_wanted
        self._num_bytes = self._num_again = self._interruptions = 0
        self._started = self._last_told = time.monotonic()

    def count(self, num_bytes: int) -> None:
        """So many bytes more were moved."""
        self._num_bytes += num_bytes
        now = time.monotonic()
        if now - self._last_told >= LOG_SECONDS:
            self._last_told = now
            logger.info(
                "%s %d of %d bytes so far",
                *(self._verb, self._num_bytes - self._num_again, self._num_wanted),
            )

    def count_again(self, num_bytes: int) -> None:
        """So many of the bytes that were moved have to be moved again."""
        self._num_again += num_bytes

    def count_interruption(self) -> None:
        """The line broke."""
        self._interruptions += 1

    @property
    def moved(self) -> Moved:
        """All that was counted up to now."""
        return Moved(
            verb=self._verb,
            num_bytes=self._num_bytes,
            num_bytes_again=self._num_again,
            seconds=time.monotonic() - self._started,
            interruptions=self._interruptions,
        )


@contextmanager
def metered(verb: str, num_wanted: int, on_end: OnEnd) -> Iterator[Meter]:
    """Count a transfer, and tell of it however it ends."""
    meter = Meter(verb, num_wanted)
    try:
        yield meter
    finally:
        on_end(meter.moved)

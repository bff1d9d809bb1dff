"""A line that is shared with a hospital's other work: so many bytes a second on average, and no more."""

import time
from collections.abc import Callable

BURST_SECONDS = 0.25
"""After a rest, so much of a second's worth may go at once."""


class Pace:
    """Makes whoever moves bytes wait until the average is kept."""

    def __init__(
        self,
        bytes_per_second: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_second = bytes_per_second
        """May be changed at any time."""
        self._clock, self._sleep = clock, sleep
        self._free = clock()
        """When the bytes that were moved up to now will have taken the time that is theirs."""

    def take(self, num_bytes: int) -> None:
        """Wait until so many bytes more may be moved."""
        if self.bytes_per_second is None:
            return
        now = self._clock()
        self._free = max(self._free, now - BURST_SECONDS) + num_bytes / self.bytes_per_second
        if self._free > now:
            self._sleep(self._free - now)

"""What the public port tells its log: whom it refused, why and how often, and what it answered.

A caller decides neither what stands in a line nor how many there are: no path, no header and no byte that it sent is
written, and the same refusals of the same caller are one line.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from server.gateway.buckets import origin_of
from server.gateway.counters import Counters

logger = logging.getLogger(__name__)

REFUSALS_SECONDS = 10.0
"""Between two tellings of who was refused."""
ANSWERS_SECONDS = 300.0
"""Between two tellings of what was answered."""
MAX_CALLERS = 50
"""Told of at a time; of the others their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Who, and why."""

    origin: str
    """An address, or the network of one."""
    why: str
    site: str = ""
    """The hospital that it is, if its key is one's."""


class Journal:
    """Counts for whoever watches, and collects for whoever reads.

    Args:
        counters: count everything.
        clock: tells seconds.
    """

    def __init__(self, counters: Counters, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._clock = clock
        self._refused: Counter[Refused] = Counter()
        self._others = 0
        self._answered: Counter[str] = Counter()
        self._told_refusals = self._told_answers = clock()

    def answered(
        self, area: str, status: int, *, host: str, word: str = "", site: str = ""
    ) -> None:
        """The application answered, in one of its areas; with a word of its own if it refused."""
        self._counters.answered(area, status)
        self._answered[f"{area} {status}"] += 1
        if 400 <= status < 500:
            self._note(f"{area} {status} {word}".rstrip(), host, site)

    def refused(self, why: str, *, host: str) -> None:
        """Somebody was turned away before that."""
        self._counters.refused(why)
        self._note(why, host, "")

    def tell(self) -> None:
        """Write what is due."""
        now = self._clock()
        if now - self._told_refusals >= REFUSALS_SECONDS:
            self._tell_refusals()
            self._told_refusals = now
        if now - self._told_answers >= ANSWERS_SECONDS:
            self._tell_answers()
            self._told_answers = now

    def close(self) -> None:
        """Write the rest."""
        self._tell_refusals()
        self._tell_answers()

    def _note(self, why: str, host: str, site: str) -> None:
        refused = Refused(origin=origin_of(host), why=why, site=site)
        if refused in self._refused or len(self._refused) < MAX_CALLERS:
            self._refused[refused] += 1
        else:
            self._others += 1

    def _tell_refusals(self) -> None:
        for refused, count in self._refused.items():
            told = (refused.site or "a caller", refused.origin, refused.why, count)
            level = logging.WARNING if refused.site else logging.INFO
            logger.log(level, "refused %s at %s: %s, times: %d", *told)
        if self._others:
            logger.info("refused besides, of more callers than are told: %d", self._others)
        self._refused.clear()
        self._others = 0

    def _tell_answers(self) -> None:
        if self._answered:
            told = ", ".join(f"{what}: {count}" for what, count in sorted(self._answered.items()))
            logger.info("answered: %s", told)
        self._answered.clear()

"""Hours in which a hospital takes no part, by the clock on its own wall."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_OF_DAY = 24 * 60
_DAY = "|".join(DAYS)
_PATTERN = re.compile(rf"({_DAY})(?:-({_DAY}))? (\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuietHours:
    """The same hours on some days of the week."""

    days: frozenset[int]
    """On which they begin; 0 is Monday."""
    begin: int
    """Minute of the day."""
    end: int
    """Minute of the day; of the next day where it is not after ``begin``."""

    def cover(self, day: int, minute: int) -> bool:
        """Whether a minute of a day of the week is quiet."""
        began_today = day in self.days and self.begin <= minute
        if self.begin < self.end:
            return began_today and minute < self.end
        return began_today or ((day - 1) % 7 in self.days and minute < self.end)


def parse_quiet_hours(text: str) -> QuietHours:
    """Read ``mon-fri 07:00-19:00``, ``sat 22:00-06:00`` or, for whole days, ``sun 00:00-24:00``.

    Raises:
        ValueError: with what it has to look like.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(_not_hours(text))
    first, last = DAYS.index(found[1]), DAYS.index(found[2] or found[1])
    begin, end = (60 * int(found[n]) + int(found[n + 1]) for n in (3, 5))
    is_time = int(found[4]) < 60 and int(found[6]) < 60
    if not is_time or begin >= MINUTES_OF_DAY or end > MINUTES_OF_DAY or begin == end:
        raise ValueError(_not_hours(text))
    days = frozenset((first + n) % 7 for n in range((last - first) % 7 + 1))
    return QuietHours(days=days, begin=begin, end=end)


def are_quiet(hours: Iterable[QuietHours], seconds: float | None = None) -> bool:
    """Whether it is quiet now, or at another time in seconds since 1970, in the machine's time zone."""
    now = time.localtime(seconds)
    minute = 60 * now.tm_hour + now.tm_min
    return any(each.cover(now.tm_wday, minute) for each in hours)


def _not_hours(text: str) -> str:
    return f"quiet_hours are written like 'mon-fri 07:00-19:00' or 'sat 22:00-06:00', not {text[:40]!r}"

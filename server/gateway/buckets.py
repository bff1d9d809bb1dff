"""A rate limit per caller: a bucket that each act takes from, and time fills again."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

OWN_MACHINE = frozenset({"127.0.0.1", "::1"})
"""Callers from here are the operator's own: a simulation's nodes, or a proxy that counts for itself."""
MAX_CALLERS = 20_000


class Buckets:
    """One bucket per caller; the caller that was quiet for longest is forgotten first.

    Args:
        per_second: how fast a bucket fills.
        at_once: how much it holds.
        clock: tells seconds.
    """

    def __init__(
        self, *, per_second: float, at_once: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What was left, and when, by caller."""

    def has_any(self, caller: str) -> bool:
        """Whether there is anything left for this caller."""
        return self._level(caller) >= 1

    def take(self, caller: str) -> bool:
        """Take one; False if there was none left."""
        level = self._level(caller)
        if level < 1:
            return False
        self._levels[caller] = (level - 1, self._clock())
        self._levels.move_to_end(caller)
        if len(self._levels) > MAX_CALLERS:
            self._levels.popitem(last=False)
        return True

    def _level(self, caller: str) -> float:
        if caller not in self._levels:
            return self._at_once
        level, then = self._levels[caller]
        return min(self._at_once, level + (self._clock() - then) * self._per_second)


def origin_of(host: str) -> str:
    """Who counts as one caller: an IPv4 address, or the 64 bits of an IPv6 address that one line is given."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))

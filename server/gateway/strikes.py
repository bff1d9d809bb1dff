"""What an address may still get wrong before it is not listened to for a while."""

from server.gateway.buckets import OWN_MACHINE, Buckets, origin_of
from server.gateway.limits import GatewayLimits

STRIKING = frozenset({400, 401, 403, 404, 405, 408, 411, 412, 413, 414, 417, 431, 505})
"""Answers that a hospital's node seldom needs, and somebody who tries doors often."""


class Strikes:
    """Counts refusals by address; this machine's own are not counted."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._left = Buckets(per_second=limits.refusals_per_second, at_once=limits.refusals_at_once)

    def note(self, host: str, status: int) -> None:
        """Somebody at this address got this answer."""
        if status in STRIKING:
            self._left.take(origin_of(host))

    def is_out(self, host: str) -> bool:
        """Whether nothing from there is listened to now, unless it comes from a hospital that is known."""
        origin = origin_of(host)
        return origin not in OWN_MACHINE and not self._left.has_any(origin)

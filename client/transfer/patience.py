"""How long to wait after trouble: a little longer each time, until the ticket ends."""

import logging
import secrets
import time

from client.transfer.line import LineBroken
from client.transfer.moved import Meter
from client.transfer.refusals import TicketExpired

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 15.0
"""With `line.CONNECT_SECONDS` for an attempt that began just before the line healed: at most 25 s in vain."""
_DOUBLINGS = 5


class Patience:
    """Waits between two attempts."""

    def __init__(self, expires: int, meter: Meter) -> None:
        self._expires, self._meter = expires, meter
        self._failures = 0
        self._random = secrets.SystemRandom()

    def progress(self) -> None:
        """A byte arrived: the next trouble is a new one."""
        self._failures = 0

    def require_time(self) -> None:
        """Go on while the ticket lasts.

        Raises:
            TicketExpired: if it does not.
        """
        if time.time() >= self._expires:
            raise TicketExpired("the line is slow")

    def wait(self, trouble: LineBroken) -> None:
        """Pause before the next attempt.

        Raises:
            TicketExpired: if the ticket ends before it.
        """
        longest = min(
            MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, _DOUBLINGS)
        )
        pause = longest * self._random.uniform(0.5, 1.0)
        if self._failures == 0:
            self._meter.count_interruption()
        self._failures += 1
        if time.time() + pause >= self._expires:
            raise TicketExpired(str(trouble)) from trouble
        logger.warning("transfer interrupted (%s), next attempt in %.1f s", trouble, pause)
        time.sleep(pause)

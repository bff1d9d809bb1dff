"""An empty answer to a node that asks for work is held back until there may be some, or its time is up.

So a node asks a few times a minute instead of every second, and yet hears of a question at once. What it is told in the
end is still that there is nothing: it asks anew, with a new signature.
"""

import asyncio
import time

from federation.bells import LOOK_SECONDS, QUESTIONS, Bells

ASKS_FOR_WORK = "/v1/fleet/pull-messages"


class Waiting:
    """Where nodes wait."""

    def __init__(self, bells: Bells, *, hold_seconds: float) -> None:
        self._bells = bells
        self._hold_seconds = hold_seconds

    def stand(self, site: str) -> int:
        """How a hospital's bell stands, to be noted before the SuperLink is asked."""
        return self._bells.rung(QUESTIONS + site)

    async def until_it_rings(self, site: str, stood: int) -> None:
        """Return once the bell stands otherwise, or when the time is up."""
        end = time.monotonic() + self._hold_seconds
        while self.stand(site) == stood and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)

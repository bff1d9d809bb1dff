"""Notices that the roster's folder changed, and has Flower told; reads no key, so it costs next to nothing."""

import time
from dataclasses import dataclass
from pathlib import Path

from server.errand import Messenger, Outcome
from server.roster_keys import Fingerprint, fingerprint

LOOK_SECONDS = 2.0
RETRY_SECONDS = 5.0


@dataclass(kw_only=True, slots=True)
class RosterFolder:
    """Keeps Flower's nodes equal to a folder; whoever owns it calls `tend` a few times a second."""

    folder: Path
    errands: Messenger
    _settled: Fingerprint | None = None
    _next_look: float = 0.0

    def tend(self) -> None:
        """Send an errand if the folder is not as it was when the last one succeeded."""
        if time.monotonic() < self._next_look or not self.errands.is_free():
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        found = fingerprint(self.folder)
        if found == self._settled:
            return

        def done(outcome: Outcome) -> None:
            self._settled = found if outcome.is_done else None
            if not outcome.is_done:
                self._next_look = time.monotonic() + RETRY_SECONDS

        self.errands.send(("roster", str(self.folder)), done)

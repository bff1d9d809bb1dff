"""The running coordinator keeps its own certificates in force: its port's, and the authority's that signs it.

Nothing is restarted for it: the gateway takes up what it finds on the disk for connections from then on, and lets those
that are open go on.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from federation.certificates import (
    Authority,
    AuthorityUnusable,
    issue_certificate,
    make_authority,
)
from federation.files import AlreadyRunning
from federation.strict_yaml import ConfigError
from server.enrolment.opening import find_opening

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0


@dataclass(kw_only=True, slots=True)
class OwnCertificates:
    """Those of one state folder; whoever owns it calls `tend` a few times a second."""

    state: Path
    names: tuple[str, ...]
    """By which hospitals reach the port, beside the one that `init` settles, perhaps while it runs."""
    _next_look: float = 0.0

    def tend(self) -> None:
        """Once a minute, renew what ends within its time (a port's: 30 days; an authority's: two years)."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        try:
            before, opening = self._shown(), find_opening(self.state)
            names = self.names if opening is None else (*self.names, opening.host)
            issue_certificate(self.state / "tls", present_authority(self.state), names)
        except (AuthorityUnusable, AlreadyRunning, ConfigError, OSError) as err:
            logger.error("the port's certificate cannot be renewed: %s", err)  # noqa: TRY400  a sentence
        else:
            if self._shown() != before:
                logger.info("the port's certificate is renewed")

    def _shown(self) -> bytes:
        path = self.state / "tls" / "server.crt"
        return path.read_bytes() if path.exists() else b""


def present_authority(state: Path) -> Authority:
    """Of a state folder; never a new one out of nothing: nobody would know it.

    Raises:
        AuthorityUnusable: if it is gone, damaged or expired.
        AlreadyRunning: if another process takes too long over making the next one.
    """
    folder = state / "tls"
    if not (folder / "ca.crt").exists():
        raise AuthorityUnusable(folder / "ca.crt", "is not there any more")
    return make_authority(folder)

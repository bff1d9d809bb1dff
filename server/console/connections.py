"""Which hospitals are connected now, as the SuperLink says; asked at most every few seconds, however many look."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.endpoint import read_endpoint

logger = logging.getLogger(__name__)

KEEP_SECONDS = 5.0
ONLINE = "online"


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """Of one hospital's node."""

    is_open: bool
    since: float | None
    """When it came or went, in seconds since 1970; None: it never came."""


Connected = Mapping[str, Connection]
"""By site name; every hospital of the roster."""


def ask_superlink(state_path: Path) -> Connected:
    """Every hospital of the roster, whether its node is connected, and since when.

    Raises:
        CoordinatorNotRunning: nobody serves from this folder.
        ControlRefused: the SuperLink does not answer.
    """
    from server.control import UNREGISTERED, open_control  # noqa: PLC0415  Flower takes a second

    endpoint = read_endpoint(state_path)
    with open_control(endpoint.control_port, endpoint.ca_path) as control:
        nodes = [node for node in control.nodes() if node.status != UNREGISTERED]
    return {
        node.name: Connection(is_open=node.status == ONLINE, since=node.since) for node in nodes
    }


@dataclass(kw_only=True, slots=True)
class Connections:
    """The last answer, for as long as it is fresh."""

    state_path: Path
    ask: Callable[[Path], Connected] = ask_superlink
    _asked: float = float("-inf")
    _answer: Connected | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> Connected | None:
        """Who is connected; None if nobody can tell."""
        with self._lock:
            if time.monotonic() - self._asked > KEEP_SECONDS:
                self._answer = self._try()
                self._asked = time.monotonic()
            return self._answer

    def _try(self) -> Connected | None:
        try:
            return self.ask(self.state_path)
        except (RuntimeError, OSError) as err:
            logger.info(
                "console: the SuperLink does not say who is connected (%s)", type(err).__name__
            )
            return None

"""What the public port saw, as counts for whoever watches.

One small file in the coordinator's state folder, written every few seconds while something changes.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from federation.files import write_file

FILE_NAME = "gateway.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """As of the last writing."""

    started: float
    """When the gateway began to count, seconds since 1970."""
    num_connections: int = 0
    """Open then."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """``answered.fleet.200`` and the like, ``refused.WHY`` for what got no answer of the application's."""


def read_access(state_path: Path) -> Access | None:
    """What the gateway of this state folder wrote last; None if it never did."""
    try:
        return Access(**json.loads((state_path / FILE_NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return None


class Counters:
    """Counts while the gateway runs."""

    def __init__(self, state_path: Path) -> None:
        self._path = state_path / FILE_NAME
        self._started = time.time()
        self._counts: Counter[str] = Counter()
        self._written: Access | None = None
        self.num_connections = 0

    def answered(self, area: str, status: int) -> None:
        """The application answered, in one of its areas."""
        self._counts[f"answered.{area}.{status}"] += 1

    def refused(self, why: str) -> None:
        """Somebody was turned away before that."""
        self._counts[f"refused.{why}"] += 1

    def write(self) -> None:
        """Put everything where others can read it, if it changed."""
        now = Access(
            started=self._started,
            num_connections=self.num_connections,
            counts=dict(self._counts),
        )
        if now != self._written:
            write_file(self._path, json.dumps(asdict(now)).encode())
            self._written = now

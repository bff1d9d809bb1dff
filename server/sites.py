"""What the round loop knows of hospitals: what it asks of all of them, and what it hears of each.

Flower, and how bytes travel, are behind ``Sites``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from federation.messages import Answer, Instruction, Refusal
from federation.parcel import Parcel
from server.collection import Source

LASTING = 0
"""Number of no round: what is published under it stays for the study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The instruction has gone to a site."""

    site: str
    bytes_down: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NotNow:
    """A site takes no part yet; it is asked again."""

    site: str
    refusal: Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A site's part in the round is settled."""

    site: str
    answer: Answer
    bytes_down: int = 0
    """What it fetched beside messages."""


Event = Asked | NotNow | Answered


class Sites(Source, Protocol):
    """Every hospital of the study."""

    @property
    def carries_shards(self) -> bool:
        """Whether tensors can travel beside messages."""
        ...

    @property
    def max_scratch(self) -> int | None:
        """Bytes that hospitals' changes may take here at a time; None: as many as they have."""
        ...

    def publish(self, parcel: Parcel, path: Path, start: int, *, number: int) -> None:
        """Let hospitals fetch shards that lie in a file from a position on, until a round is over; 0: for good."""
        ...

    def ask(self, instruction: Instruction, num_admitted: Callable[[], int]) -> Iterator[Event]:
        """Send one instruction to every hospital; yield what happens, in the order it happens."""
        ...

    def num_left(self, site: str, *, number: int) -> int | None:
        """Bytes that a hospital left beside messages in a round; None if nobody here knows."""
        ...

    def forget(self, number: int) -> None:
        """Free the room of everything that travelled in a round, or for good under ``LASTING``."""
        ...

"""Hospitals as a function in this process: nothing travels but what a message holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from federation.messages import Instruction
from federation.parcel import Parcel, ReadShard
from server.collection import Words
from server.sites import Event

Ask = Callable[[Instruction], Iterator[Event]]
"""Have every hospital answer an instruction; what happens, in the order it happens."""


class InProcess:
    """The `Sites` of a study whose hospitals are called instead of sent for."""

    carries_shards = False
    max_scratch: int | None = None

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def ask(self, instruction: Instruction, num_admitted: Callable[[], int]) -> Iterator[Event]:
        """Call every hospital."""
        del num_admitted  # nobody is waited for
        return self._ask(instruction)

    def num_left(self, site: str, *, number: int) -> int:
        """Nothing travels beside messages."""
        del site, number
        return 0

    def forget(self, number: int) -> None:
        """Nothing is kept."""

    def publish(self, parcel: Parcel, path: Path, start: int, *, number: int) -> NoReturn:
        """Nothing travels beside messages."""
        raise NotImplementedError

    def fetch(
        self, wanted: Mapping[str, Parcel], shards: Sequence[int], *, number: int, num_spare: int
    ) -> Words:
        """Nothing travels beside messages."""
        raise NotImplementedError

    def bring(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> ReadShard:
        """Nothing travels beside messages."""
        raise NotImplementedError

    def drop(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> NoReturn:
        """Nothing travels beside messages."""
        raise NotImplementedError

"""What every source of radiographs offers the ingest: items with a name, and a file for each."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from client.dicom.rejection import Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One file or instance that a source has."""

    name: str = field(repr=False)
    """What tells it from the source's other items: a relative path or a SOP instance UID. Never stored
    or shown as it is."""
    version: str = field(repr=False)
    """Changes whenever the content may have changed; empty where content never does."""
    labelled_as: str = field(default="", repr=False)
    """File name without ending, by which some label tables name a picture; empty where there is none."""
    refused: Reason | None = None
    """Why its content must not or cannot be asked for; it is counted under this reason instead."""


class SourceFailed(RuntimeError):
    """A source as a whole cannot be read; the message is one sentence for the person who can help."""


class ItemLost(RuntimeError):
    """One item cannot be had now; the next ingest asks for it again."""


class Source(Protocol):
    """A place that radiographs come from."""

    @property
    def origin(self) -> str:
        """Short fixed word for the kind of source: items of two origins are never the same item."""
        ...

    @property
    def mirrored(self) -> bool:
        """Whether a record leaves the cache once its item is no longer offered."""
        ...

    def items(self) -> Iterator[Item]:
        """Everything the source has now, in a fixed order.

        Raises:
            SourceFailed: the list cannot be had as a whole.
        """
        ...

    def file_of(self, item: Item, scratch: Path) -> Path:
        """A file with the item's content: its own, or one made in the scratch folder.

        A file in the scratch folder belongs to the caller, who removes it. Several threads may ask at once.

        Raises:
            ItemLost: not now.
            SourceFailed: nor any other item.
        """
        ...

    def settled(self, item: Item) -> None:
        """The item's outcome is on disk for good: a file that was only waiting for that may go."""
        ...

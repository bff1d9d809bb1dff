"""What the coordinator asks of a place for blobs, whichever it is: the built-in one, or a bucket.

Shards lie in spaces, each named by the coordinator. What it offers in a space, hospitals fetch; what it expects in
one, a hospital leaves. A ticket for either travels inside a message.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from federation.messages import BoxTicket, Ticket
from federation.parcel import Parcel, ReadShard


class BlobStore(Protocol):
    """A place for shards. Every change survives the death of any process; every call may be repeated."""

    def publish(self, space: str, parcel: Parcel, path: Path, start: int) -> None:
        """Offer the shards that lie one after the other in a file, from byte ``start`` on; the file has to stay."""

    def fetch_ticket(self, space: str, parcel: Parcel, *, site: str, seconds: float) -> Ticket:
        """Leave for one hospital to fetch all shards of what is offered, for a while."""

    def open_box(self, space: str, parcel: Parcel) -> None:
        """Let these shards be left, and no others; those that are there already stay."""

    def leave_ticket(
        self, space: str, parcel: Parcel, shards: Sequence[int], *, site: str, seconds: float
    ) -> Ticket:
        """Leave for one hospital to leave some shards, for a while."""

    def box_ticket(
        self, owner: str, *, site: str, max_bytes: int, seconds: float
    ) -> BoxTicket | None:
        """Leave for one hospital to open a box by itself, and to leave one change there.

        The box is `own_boxes.own_box` of the parcel. None if the place lets nobody open anything.
        """

    def arrived(self, space: str, parcel: Parcel) -> frozenset[int]:
        """Numbers of the shards that are there."""

    def bring(self, space: str, parcel: Parcel, shards: Sequence[int]) -> ReadShard:
        """Reads these shards on this machine; they are the parcel's.

        Raises:
            ShardDamaged: if one is not; it is dropped.
        """

    def drop(self, space: str, shards: Sequence[int]) -> None:
        """Free the room of some shards that were left; they can be left again."""

    def moved(self, prefix: str, site: str, *, since: float = 0.0) -> int | None:
        """Bytes that a hospital really fetched or left in spaces whose names begin so, from a time on (since 1970).

        None if the place does not know.
        """

    def forget(self, prefix: str) -> None:
        """Free everything that was offered or left in spaces whose names begin so."""


class ShardDamaged(RuntimeError):
    """A shard that was left and is not what its hospital announced."""

    def __init__(self, space: str, number: int) -> None:
        self.number = number
        super().__init__(f"shard {number} of {space} is missing or is not what was announced")

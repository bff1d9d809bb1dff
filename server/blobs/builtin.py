"""The built-in place for blobs: a folder of the coordinator's, served at its own public port."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from federation.messages import BoxTicket, Ticket
from federation.parcel import Parcel, ReadShard, shards_in_folder
from server.blobs.boxes import Boxes, boxes_path
from server.blobs.names import box_link, shard_link
from server.blobs.opening import allow
from server.blobs.published import Published, published_path
from server.blobs.store import ShardDamaged
from server.blobs.tickets import Right, load_key, sign_token
from server.blobs.traffic import Traffic, traffic_path


class BuiltinStore:
    """A `BlobStore` on this machine's disk. The gateway serves the same folder; they speak through files alone."""

    def __init__(self, state_path: Path) -> None:
        self._key = load_key(state_path)
        self._boxes = Boxes(boxes_path(state_path))
        self._published = Published(published_path(state_path))
        self._traffic = Traffic(traffic_path(state_path))

    def publish(self, space: str, parcel: Parcel, path: Path, start: int) -> None:
        """Offer shards where they lie; nothing is copied."""
        self._published.publish(space, path, start, parcel.sizes)

    def fetch_ticket(self, space: str, parcel: Parcel, *, site: str, seconds: float) -> Ticket:
        """Leave for one hospital to fetch all shards, for a while, as long as it is a member."""
        return self._ticket(space, range(len(parcel.sizes)), "fetch", site=site, seconds=seconds)

    def open_box(self, space: str, parcel: Parcel) -> None:
        """Let these shards be left, and no others."""
        self._boxes.open(space, sizes=parcel.sizes, digests=parcel.digests)

    def leave_ticket(
        self,
        space: str,
        parcel: Parcel,  # noqa: ARG002  a bucket signs sizes
        shards: Sequence[int],
        *,
        site: str,
        seconds: float,
    ) -> Ticket:
        """Leave for one hospital to leave some shards, for a while, as long as it is a member."""
        return self._ticket(space, shards, "leave", site=site, seconds=seconds)

    def box_ticket(self, owner: str, *, site: str, max_bytes: int, seconds: float) -> BoxTicket:
        """Leave for one hospital to open a box by itself, until everything under its name is forgotten."""
        allow(self._boxes, owner, max_bytes)
        expires = int(time.time() + seconds)
        token = sign_token(self._key, site=site, space=owner, right="open", expires=expires)
        return BoxTicket(link=box_link(owner), token=token, expires=expires, max_bytes=max_bytes)

    def arrived(self, space: str, parcel: Parcel) -> frozenset[int]:
        """Numbers of the shards that are whole and verified."""
        return self._boxes.arrived(space, sizes=parcel.sizes, digests=parcel.digests)

    def bring(self, space: str, parcel: Parcel, shards: Sequence[int]) -> ReadShard:
        """Reads these shards where they lie.

        Raises:
            ShardDamaged: if one is not there.
        """
        missing = set(shards) - self.arrived(space, parcel)
        if missing:
            raise ShardDamaged(space, min(missing))
        return shards_in_folder(self._boxes.folder(space))

    def drop(self, space: str, shards: Sequence[int]) -> None:
        """Free the room of some shards; they can be left again."""
        self._boxes.drop(space, shards)

    def moved(self, prefix: str, site: str, *, since: float = 0.0) -> int:
        """Bytes that passed the gateway."""
        return self._traffic.total(prefix, site, since=since)

    def forget(self, prefix: str) -> None:
        """Free every box, and end every offer, whose space's name begins so."""
        self._published.forget(prefix)
        self._boxes.forget(prefix)
        self._traffic.forget(prefix)

    def _ticket(
        self, space: str, shards: Iterable[int], right: Right, *, site: str, seconds: float
    ) -> Ticket:
        expires = int(time.time() + seconds)
        token = sign_token(self._key, site=site, space=space, right=right, expires=expires)
        links = tuple(shard_link(space, number) for number in shards)
        return Ticket(links=links, token=token, expires=expires)

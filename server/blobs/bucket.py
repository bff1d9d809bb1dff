"""A bucket as the place for blobs: hospitals and coordinator meet there, by links that are good for a while.

A bucket cannot say whether an object is the shard it should be. So a shard counts as arrived by its size, and is
verified when it is brought here; one that is not what it should be is deleted.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from federation.files import make_private_folder
from federation.messages import Ticket
from federation.parcel import Parcel, ReadShard, shard_path, shards_in_file, shards_in_folder
from server.blobs.names import check_space, shard_name
from server.blobs.objects import MAX_LINK_SECONDS, NotTheObject, Objects, bucket_address
from server.blobs.store import ShardDamaged


class BucketStore:
    """A `BlobStore` in an S3-compatible bucket."""

    def __init__(self, url: str, scratch: Path) -> None:
        """Use a bucket.

        Args:
            url: of the bucket (`bucket_address`).
            scratch: folder on this machine for shards that were brought.

        Raises:
            WrongBucketURL: if it is no such address.
            NoBucketClient: if boto3 is not installed.
        """
        self._objects = Objects(bucket_address(url))
        self._scratch = scratch

    def publish(self, space: str, parcel: Parcel, path: Path, start: int) -> None:
        """Copy the shards of a file into the bucket; those that are there stay."""
        read = shards_in_file(parcel, path, start=start)
        there = self.arrived(space, parcel)
        for number in (n for n in range(len(parcel.sizes)) if n not in there):
            content = read(number, 0, parcel.sizes[number])
            self._objects.put(_key(space, number), content, parcel.digests[number])

    def fetch_ticket(
        self,
        space: str,
        parcel: Parcel,
        *,
        site: str,  # noqa: ARG002  a bucket knows no hospitals: a link is good until it expires
        seconds: float,
    ) -> Ticket:
        """Links to all shards."""

        def link(number: int, seconds: int) -> str:
            return self._objects.get_link(_key(space, number), seconds=seconds)

        return _ticket(range(len(parcel.sizes)), seconds, link)

    def open_box(self, space: str, parcel: Parcel) -> None:  # noqa: ARG002  each link says what it takes
        """Nothing to do in a bucket: a link takes one shard of one size."""
        check_space(space)

    def leave_ticket(
        self,
        space: str,
        parcel: Parcel,
        shards: Sequence[int],
        *,
        site: str,  # noqa: ARG002  as above
        seconds: float,
    ) -> Ticket:
        """Links by which these shards can be put."""

        def link(number: int, seconds: int) -> str:
            size = parcel.sizes[number]
            return self._objects.put_link(_key(space, number), size, seconds=seconds)

        return _ticket(shards, seconds, link)

    def box_ticket(
        self,
        owner: str,
        *,
        site: str,
        max_bytes: int,
        seconds: float,
    ) -> None:
        """None: a bucket lets nobody announce anything."""

    def arrived(self, space: str, parcel: Parcel) -> frozenset[int]:
        """Numbers of the shards that lie in the bucket in their size."""
        there = self._objects.sizes(f"{check_space(space)}/")
        sizes = enumerate(parcel.sizes)
        return frozenset(number for number, size in sizes if there.get(_key(space, number)) == size)

    def bring(self, space: str, parcel: Parcel, shards: Sequence[int]) -> ReadShard:
        """Copy shards here, and verify them.

        Raises:
            ShardDamaged: if one is missing, or not what it should be; then it is deleted.
            BucketUnusable: if the bucket does not answer.
        """
        folder = make_private_folder(self._scratch / check_space(space) / parcel.digest)
        for number in shards:
            path = shard_path(folder, number)
            if path.exists():
                continue
            try:
                self._objects.download(_key(space, number), path, parcel.digests[number])
            except NotTheObject:
                self.drop(space, [number])
                raise ShardDamaged(space, number) from None
        return shards_in_folder(folder)

    def drop(self, space: str, shards: Sequence[int]) -> None:
        """Delete some shards, here and there."""
        for folder in self._scratch.glob(f"{check_space(space)}/*/"):
            for number in shards:
                shard_path(folder, number).unlink(missing_ok=True)
        self._objects.delete([_key(space, number) for number in shards])

    def moved(self, prefix: str, site: str, *, since: float = 0.0) -> None:
        """Only the bucket's own operator knows."""
        del prefix, site, since

    def forget(self, prefix: str) -> None:
        """Delete everything in spaces whose names begin so, here and there."""
        for folder in sorted(self._scratch.iterdir()) if self._scratch.is_dir() else ():
            if folder.name.startswith(prefix):
                shutil.rmtree(folder, ignore_errors=True)
        self._objects.delete(list(self._objects.sizes(prefix)))


def _key(space: str, number: int) -> str:
    return f"{space}/{shard_name(number)}"


def _ticket(shards: Sequence[int], seconds: float, link: Callable[[int, int], str]) -> Ticket:
    life = min(int(seconds), MAX_LINK_SECONDS)
    expires = int(time.time()) + life
    return Ticket(links=tuple(link(number, life) for number in shards), token="", expires=expires)

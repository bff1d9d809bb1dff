"""The pictures of a version, one after the other, wherever in the shards each of them lies."""

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache.layout import CacheDamaged
from client.cache.seal import Seal
from client.cache.shards import Shard

Indices = int | np.integer | slice | NDArray[np.integer]


class Images:
    """n pictures, read and verified one by one when they are asked for; 0 black, 65535 white."""

    def __init__(
        self, shards: Sequence[Shard], places: NDArray[np.uint32], image_size: int
    ) -> None:
        """Remember where pictures lie.

        Args:
            shards: The files.
            places: (n, 2), for each picture which of the shards and which slot in it.
            image_size: Side of the pictures, pixels.
        """
        self.image_size = image_size
        self.shards, self.places = tuple(shards), places

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.places)

    def __getitem__(self, indices: Indices) -> NDArray[np.uint16]:
        """The picture (image_size, image_size) at an index, or k of them for a slice or k indices.

        Raises:
            CacheDamaged: a picture is not what was written.
        """
        places = self.places[indices]
        chosen = np.atleast_2d(places)
        images = np.empty((len(chosen), self.image_size, self.image_size), np.uint16)
        for image, (shard, slot) in zip(images, chosen.tolist(), strict=True):
            self.shards[shard].read_into(image, slot)
        return images if places.ndim == 2 else images[0]

    def __iter__(self) -> Iterator[NDArray[np.uint16]]:
        """Picture after picture."""
        return (self[index] for index in range(len(self)))

    @classmethod
    def joined(cls, parts: Sequence["Images"]) -> "Images":
        """All pictures of several caches, one cache after the other.

        Raises:
            ValueError: they have different sizes.
        """
        (image_size,) = {part.image_size for part in parts}
        shards: list[Shard] = []
        places: list[NDArray[np.uint32]] = []
        for part in parts:
            places.append(part.places + np.array([len(shards), 0], np.uint32))
            shards += part.shards
        return cls(shards, np.concatenate(places), image_size)


def open_images(
    cache_path: Path,
    shard_paths: Sequence[Path],
    places: NDArray[np.uint32],
    image_size: int,
    seal: Seal,
) -> Images:
    """Map shards, and make sure that every place is in them.

    Raises:
        FileNotFoundError: a shard is not there.
        CacheDamaged: one is too short, or a place is nowhere.
    """
    _allow_open_files(len(shard_paths))
    shards = [Shard(cache_path, path, image_size, seal) for path in shard_paths]
    lengths = np.array([len(shard) for shard in shards], np.int64)
    if len(places) and (
        int(places[:, 0].max()) >= len(shards) or (places[:, 1] >= lengths[places[:, 0]]).any()
    ):
        raise CacheDamaged(cache_path, "a shard has fewer radiographs than were written")
    return Images(shards, places, image_size)


def _allow_open_files(num_files: int) -> None:
    """A mapped file stays open, and a large cache has more of them than a process may open unasked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if num_files > soft // 4 and soft != hard:
        wanted = soft + num_files
        resource.setrlimit(
            resource.RLIMIT_NOFILE,
            (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard),
        )

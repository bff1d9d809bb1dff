"""Tensors on their way: cut into shards, encoded, each shard named by its digest.

Both sides cut alike, from names and shapes alone. The description travels inside a message; the shards travel inside
it too if they are few bytes, or beside it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.encoding import Encoding, decode, encode, encoded_size
from model.arrays import digest_of_shards, replacing
from model.tensor_file import TensorFile, write_all
from model.tensors import (
    BLOCK_VALUES,
    SHARD_VALUES,
    Piece,
    Shapes,
    Tensors,
    num_values,
    shard_plan,
)

READ_BYTES = 2**20

ReadShard = Callable[[int, int, int], bytes]
"""(number of the shard, first byte, one past the last) -> those bytes of it."""


class NotTheParcel(ValueError):
    """Bytes that are not what the description says."""


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What was sent or is to be sent."""

    shapes: Shapes
    encoding: Encoding
    digests: tuple[str, ...]
    """SHA-256 of every shard's bytes, in order; 64 hexadecimal digits each."""
    shard_values: int = SHARD_VALUES

    def __post_init__(self) -> None:
        if self.shard_values < 1 or num_values(self.shapes) > len(self.digests) * self.shard_values:
            raise NotTheParcel(f"{len(self.digests)} shards cannot hold so many values")
        if len(self.digests) != len(self.plan):
            raise NotTheParcel(f"{len(self.digests)} shards are named, {len(self.plan)} are needed")

    @cached_property
    def plan(self) -> tuple[tuple[Piece, ...], ...]:
        """The pieces of each shard."""
        frozen = tuple((name, tuple(shape)) for name, shape in sorted(self.shapes.items()))
        return _plan(frozen, self.shard_values)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each shard."""
        return tuple(encoded_size(_num_values(pieces), self.encoding) for pieces in self.plan)

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(self.sizes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the description: equal parcels have equal bytes."""
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()

    @property
    def tensors_digest(self) -> str | None:
        """What ``digest_arrays`` gives for the tensors, where shards are cut and encoded as it has them; else None."""
        if self.encoding != "fp32" or self.shard_values != SHARD_VALUES:
            return None
        return digest_of_shards(self.shapes, self.digests)

    @property
    def description(self) -> dict[str, Any]:
        """For a JSON file of this program's own; `from_description` reads it."""
        return {
            "shapes": {name: list(shape) for name, shape in sorted(self.shapes.items())},
            "encoding": self.encoding,
            "shard_values": self.shard_values,
            "digests": list(self.digests),
        }

    @classmethod
    def from_description(cls, content: Mapping[str, Any]) -> "Parcel":
        """What ``description`` gave, read back from JSON."""
        shapes = {name: tuple(shape) for name, shape in content["shapes"].items()}
        return cls(
            shapes=shapes,
            encoding=content["encoding"],
            shard_values=content["shard_values"],
            digests=tuple(content["digests"]),
        )


class Unpacked(Tensors):
    """A parcel's tensors, decoded as they are read."""

    def __init__(self, parcel: Parcel, read: ReadShard) -> None:
        self._parcel, self._read = parcel, read

    @property
    def shapes(self) -> Shapes:
        """Name and shape of every tensor."""
        return self._parcel.shapes

    def piece(self, piece: Piece) -> NDArray[np.float32]:
        """The values of a piece, flat; it may lie in several shards."""
        parts = [
            self._part(number, first, last)
            for number, first, last in self._parts(piece)
            if last > first
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])

    def _part(self, number: int, first: int, last: int) -> NDArray[np.float32]:
        def read(start: int, stop: int) -> bytes:
            return self._read(number, start, stop)

        return decode(read, self._parcel.encoding, first, last)

    def _parts(self, piece: Piece) -> list[tuple[int, int, int]]:
        """(shard, first value, one past the last) for each shard that holds some of the piece."""
        found = []
        for number, before, held in self._places.get(piece.name, ()):
            first, last = max(piece.start, held.start), min(piece.stop, held.stop)
            if first < last:
                found.append((number, before + first - held.start, before + last - held.start))
        return found

    @cached_property
    def _places(self) -> dict[str, list[tuple[int, int, Piece]]]:
        """Name -> (shard, values before it in the shard, piece) of each of its pieces."""
        places: dict[str, list[tuple[int, int, Piece]]] = {}
        for number, pieces in enumerate(self._parcel.plan):
            before = 0
            for piece in pieces:
                places.setdefault(piece.name, []).append((number, before, piece))
                before += piece.num_values
        return places


def pack(
    path: Path,
    tensors: Tensors,
    encoding: Encoding,
    *,
    shard_values: int = SHARD_VALUES,
    rng: np.random.Generator | None = None,
) -> Parcel:
    """Encode tensors into a file, shard after shard; it appears whole and durable, or not at all.

    Args:
        path: where the file shall be.
        tensors: what travels.
        encoding: of their values.
        shard_values: values of a shard, at most.
        rng: for stochastic rounding; the operating system's entropy by default.
    """
    with replacing(path) as partial, partial.open("wb", buffering=0) as file:

        def put(content: bytes) -> None:
            write_all(file, content)

        return _packed(tensors, encoding, shard_values, rng, put)


def pack_inline(
    tensors: Tensors,
    encoding: Encoding,
    *,
    shard_values: int = SHARD_VALUES,
    rng: np.random.Generator | None = None,
) -> tuple[Parcel, bytes]:
    """The same in memory: the parcel, and its shards one after the other."""
    content: list[bytes] = []
    parcel = _packed(tensors, encoding, shard_values, rng, content.append)
    return parcel, b"".join(content)


def parcel_of(file: TensorFile, *, shard_values: int = SHARD_VALUES) -> Parcel:
    """A file that was written in order of name, as a parcel that needs no other copy.

    Its shards lie one after the other from ``file.data_start`` on.

    Raises:
        ValueError: the tensors lie in another order.
    """
    if not file.is_ordered:
        raise ValueError("only a file in order of name is a parcel as it lies")
    with file.path.open("rb", buffering=0) as content:
        content.seek(file.data_start)
        digests = [
            _digest_of(content, encoded_size(_num_values(pieces), "fp32"))
            for pieces in shard_plan(file.shapes, max_values=shard_values)
        ]
    return Parcel(
        shapes=dict(file.shapes),
        encoding="fp32",
        digests=tuple(digests),
        shard_values=shard_values,
    )


def packed_size(shapes: Shapes, encoding: Encoding, *, shard_values: int = SHARD_VALUES) -> int:
    """Bytes of all shards of tensors of these shapes."""
    plan = shard_plan(shapes, max_values=shard_values)
    return sum(encoded_size(_num_values(pieces), encoding) for pieces in plan)


def shards_in_file(parcel: Parcel, path: Path, *, start: int = 0) -> ReadShard:
    """Reads shards that lie one after the other in a file, from a position on."""
    starts = np.cumsum([start, *parcel.sizes]).tolist()

    def read(number: int, first: int, last: int) -> bytes:
        return _read_at(path, starts[number] + first, last - first)

    return read


def shards_in_folder(folder: Path) -> ReadShard:
    """Reads shards that lie in a folder, each in a file named by its number."""

    def read(number: int, first: int, last: int) -> bytes:
        return _read_at(shard_path(folder, number), first, last - first)

    return read


def shards_in_memory(parcel: Parcel, content: bytes) -> ReadShard:
    """Reads shards that lie one after the other in memory."""
    starts = np.cumsum([0, *parcel.sizes]).tolist()

    def read(number: int, first: int, last: int) -> bytes:
        return content[starts[number] + first : starts[number] + last]

    return read


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard lies in a folder."""
    return folder / f"{number:06d}"


def _read_at(path: Path, start: int, length: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        content = file.read(length)
        while len(content) < length and (more := file.read(length - len(content))):
            content += more
    if len(content) != length:
        raise NotTheParcel(f"{path} is cut short")
    return content


def _packed(
    tensors: Tensors,
    encoding: Encoding,
    shard_values: int,
    rng: np.random.Generator | None,
    put: Callable[[bytes], None],
) -> Parcel:
    """Hand the bytes of all shards on, block after block, and say what they are."""
    digests: list[str] = []
    for pieces in shard_plan(tensors.shapes, max_values=shard_values):
        digest, values = hashlib.sha256(), _joined(tensors, pieces)
        for start in range(0, values.size, BLOCK_VALUES):
            content = encode(values[start : start + BLOCK_VALUES], encoding, rng)
            digest.update(content)
            put(content)
        digests.append(digest.hexdigest())
    return Parcel(
        shapes=dict(tensors.shapes),
        encoding=encoding,
        digests=tuple(digests),
        shard_values=shard_values,
    )


def _joined(tensors: Tensors, pieces: Sequence[Piece]) -> NDArray[np.float32]:
    if len(pieces) == 1:
        return tensors.piece(pieces[0])
    values, start = np.empty(_num_values(pieces), np.float32), 0
    for piece in pieces:
        values[start : start + piece.num_values] = tensors.piece(piece)
        start += piece.num_values
    return values


def _digest_of(file: FileIO, length: int) -> str:
    """SHA-256 of the next bytes of a file."""
    digest, block, left = hashlib.sha256(), memoryview(bytearray(READ_BYTES)), length
    while left:
        count = file.readinto(block[: min(left, READ_BYTES)])
        if not count:
            raise NotTheParcel("the file is cut short")
        digest.update(block[:count])
        left -= count
    return digest.hexdigest()


def _num_values(pieces: Sequence[Piece]) -> int:
    return sum(piece.num_values for piece in pieces)


@lru_cache(maxsize=8)
def _plan(
    shapes: tuple[tuple[str, tuple[int, ...]], ...], max_values: int
) -> tuple[tuple[Piece, ...], ...]:
    return shard_plan(dict(shapes), max_values=max_values)

"""A safetensors file of float32 tensors that is read and written piece by piece.

It is read by position and not mapped into memory, as mapped pages count as memory of the process.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.arrays import FLOAT32, ShardHash, WrongModelFile, replacing
from model.tensors import BLOCK_VALUES, Piece, Shapes, Tensors, as_tensors, pieces_of

VALUE_BYTES = 4
MAX_HEADER_BYTES = 100 * 2**20
"""As safetensors has it."""


class TensorFile(Tensors):
    """What a file holds; nothing of it stays in memory or open."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            WrongModelFile: the file is missing, cut short, not safetensors, or not float32.
        """
        self.path = path
        self._shapes, self._starts = _read_header(path)

    @property
    def shapes(self) -> Shapes:
        """Name and shape of every tensor."""
        return self._shapes

    @property
    def data_start(self) -> int:
        """Position of the first tensor's first byte in the file."""
        return min(self._starts.values(), default=self.path.stat().st_size)

    @property
    def is_ordered(self) -> bool:
        """Whether the tensors lie in order of name."""
        starts = [self._starts[name] for name in self]
        return starts == sorted(starts)

    def piece(self, piece: Piece) -> NDArray[np.float32]:
        """The values of a piece, flat."""
        values = np.empty(piece.num_values, dtype=FLOAT32)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._starts[piece.name] + piece.start * VALUE_BYTES)
            _read_into(file, values, self.path)
        return values


class TensorWriter:
    """Fills a new file in order of name and place; the digest is the one that ``digest_arrays`` gives."""

    def __init__(self, file: FileIO, shapes: Shapes) -> None:
        self._file, self._shapes = file, shapes
        self._left = iter(sorted(shapes))
        self._name, self._next = "", 0
        self._hash = ShardHash(shapes)

    def put(self, piece: Piece, values: NDArray[np.floating]) -> None:
        """Append a piece; it begins where the last one ended."""
        if piece.name != self._name:
            self._begin(piece.name)
        if piece.start != self._next or values.size != piece.num_values:
            raise ValueError(
                f"tensor {piece.name} goes on at value {self._next}, not {piece.start}"
            )
        content = np.ascontiguousarray(values, dtype=FLOAT32).reshape(-1).view(np.uint8).data
        self._hash.update(content)
        write_all(self._file, content)
        self._next = piece.stop

    def finish(self) -> None:
        """Make sure that every tensor was filled."""
        self._check_full()
        missing = next(self._left, None)
        if missing is not None:
            raise ValueError(f"tensor {missing} was never put")

    @property
    def digest(self) -> str:
        """Of what was put, 64 hexadecimal digits."""
        return self._hash.digest

    @property
    def shards(self) -> tuple[str, ...]:
        """SHA-256 of every shard of what was put (``shard_digests``)."""
        return self._hash.shards

    def _begin(self, name: str) -> None:
        self._check_full()
        if next(self._left, None) != name:
            raise ValueError(f"tensor {name} is not the next one")
        self._name, self._next = name, 0

    def _check_full(self) -> None:
        if self._name and self._next != prod(self._shapes[self._name]):
            raise ValueError(f"tensor {self._name} ends at value {self._next}")


@contextmanager
def write_tensors(
    path: Path, shapes: Shapes, metadata: Mapping[str, str] | None = None
) -> Iterator[TensorWriter]:
    """Write a file piece by piece; it appears whole and durable, or not at all.

    Args:
        path: where the file shall be; its folder exists.
        shapes: of all tensors that will be put.
        metadata: short texts for a person who looks into the file.

    Raises:
        ValueError: pieces are missing or out of order.
    """
    with replacing(path) as partial, partial.open("wb", buffering=0) as file:
        write_all(file, header_bytes(shapes, metadata or {}))
        writer = TensorWriter(file, shapes)
        yield writer
        writer.finish()


def copy_tensors(
    path: Path,
    arrays: Mapping[str, NDArray[np.float32]],
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write tensors from wherever they lie into a file; gives their digest."""
    tensors = as_tensors(arrays)
    with write_tensors(path, tensors.shapes, metadata) as writer:
        for piece in pieces_of(tensors.shapes, max_values=4 * BLOCK_VALUES):
            writer.put(piece, tensors.piece(piece))
    return writer.digest


def header_bytes(shapes: Shapes, metadata: Mapping[str, str]) -> bytes:
    """What a safetensors file of float32 tensors in order of name begins with."""
    content: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name in sorted(shapes):
        stop = start + prod(shapes[name]) * VALUE_BYTES
        content[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_all(file: FileIO, content: memoryview | bytes) -> None:
    """Write every byte; one call to the system may take fewer."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    if not path.is_file():
        raise WrongModelFile(path, "does not exist")
    try:
        content, data_start = _header(path)
        content.pop("__metadata__", None)
        if all(entry["dtype"] == "F32" for entry in content.values()):
            return _places(content, data_start, path.stat().st_size)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise WrongModelFile(path, "is not a complete safetensors file") from err
    raise WrongModelFile(path, "holds numbers that are not float32")


def _header(path: Path) -> tuple[dict[str, dict[str, object]], int]:
    """What stands at the beginning of a file, and where the numbers begin."""
    with path.open("rb", buffering=0) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError("header")
        content: dict[str, dict[str, object]] = json.loads(file.read(length).decode())
    return content, 8 + length


def _places(
    content: dict[str, dict[str, object]], data_start: int, size: int
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shapes and positions; the tensors fill the file without a gap."""
    shapes: dict[str, tuple[int, ...]] = {}
    starts: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in content.items():
        shapes[name], (start, stop) = _wholes(entry["shape"]), _wholes(entry["data_offsets"])
        if stop - start != prod(shapes[name]) * VALUE_BYTES:
            raise ValueError(name)
        starts[name] = data_start + start
        spans.append((start, stop))
    spans.sort()
    ends = [0, *(stop for _, stop in spans)]
    if [start for start, _ in spans] != ends[:-1] or data_start + ends[-1] != size:
        raise ValueError("gap")
    return shapes, starts


def _wholes(values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(each) is not int or each < 0 for each in values):
        raise ValueError("number")
    return tuple(values)


def _read_into(file: FileIO, values: NDArray[np.float32], path: Path) -> None:
    left = values.view(np.uint8).data
    while left:
        count = file.readinto(left)
        if not count:
            raise WrongModelFile(path, "is cut short")
        left = left[count:]

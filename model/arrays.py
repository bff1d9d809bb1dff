"""Named float32 arrays: their digest, their file, and the check that they fit a network.

The file format is safetensors, which holds numbers and text only: reading a file from a stranger
cannot run code. Nothing here needs torch, so that a digest is cheap to check anywhere.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from model.tensors import SHARD_VALUES, Piece, Shapes, Tensors, shard_plan

Arrays = Mapping[str, NDArray[np.float32]]
"""Parameter name -> value."""
FLOAT32 = "<f4"


class WrongModelFile(ValueError):
    """A file that cannot be used as part of a model."""

    def __init__(
        self, path: Path, problem: str, advice: str = "copy it again from where it came from"
    ) -> None:
        super().__init__(f"{path} {problem}: {advice}.")


class WrongTensor(ValueError):
    """A set of tensors that does not fit the network it is meant for."""

    def __init__(self, name: str, *, found: str, expected: str) -> None:
        super().__init__(
            f"tensor {name} is {found}, expected {expected}: "
            "use weights that were made for this model size and these findings."
        )


def digest_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """SHA-256 over names, dtypes, shapes and the SHA-256 of every shard's little-endian bytes, in order of name.

    A shard is what travels at a time (`shard_plan` of at most ``SHARD_VALUES`` values). Whoever checks shards as they
    come, or hashes them as it writes, knows the digest of the whole without reading any of it again.

    Returns:
        64 hexadecimal digits; the same for every order of insertion and every memory layout.
    """
    if isinstance(arrays, Tensors):
        return digest_of_shards(arrays.shapes, shard_digests(arrays))
    shapes = {name: array.shape for name, array in arrays.items()}
    dtypes = {name: array.dtype.newbyteorder("<").str for name, array in arrays.items()}

    def content(piece: Piece) -> memoryview:
        flat = np.ascontiguousarray(arrays[piece.name], dtype=dtypes[piece.name]).reshape(-1)
        return flat[piece.start : piece.stop].view(np.uint8).data

    return _digest(shapes, dtypes, _hashed(shapes, content))


def shard_digests(tensors: Tensors) -> tuple[str, ...]:
    """SHA-256 of every shard of float32 tensors, in order; read a megabyte at a time."""

    def content(piece: Piece) -> memoryview:
        return np.ascontiguousarray(tensors.piece(piece), FLOAT32).view(np.uint8).data

    return _hashed(tensors.shapes, content)


def digest_of_shards(shapes: Shapes, shards: Sequence[str]) -> str:
    """The digest of float32 tensors whose shards have these digests.

    Args:
        shapes: of all tensors.
        shards: SHA-256 of each shard of at most ``SHARD_VALUES`` values, in order.
    """
    return _digest(shapes, dict.fromkeys(shapes, FLOAT32), shards)


class ShardHash:
    """Hashes float32 tensors that are written one after the other, in whatever pieces."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        plan = shard_plan(shapes, max_values=SHARD_VALUES)
        self._sizes = iter([4 * sum(piece.num_values for piece in pieces) for pieces in plan])
        self._room = next(self._sizes, 0)
        self._hash = hashlib.sha256()
        self._shards: list[str] = []

    def update(self, content: memoryview) -> None:
        """The next bytes."""
        while content:
            part, content = content[: self._room], content[self._room :]
            self._hash.update(part)
            self._room -= len(part)
            if not self._room:
                self._shards.append(self._hash.hexdigest())
                self._hash, self._room = hashlib.sha256(), next(self._sizes, len(content))

    @property
    def shards(self) -> tuple[str, ...]:
        """SHA-256 of every shard that is whole."""
        return tuple(self._shards)

    @property
    def digest(self) -> str:
        """What ``digest_arrays`` gives, once everything was written."""
        return digest_of_shards(self._shapes, self._shards)


def _hashed(shapes: Shapes, content: Callable[[Piece], memoryview]) -> tuple[str, ...]:
    shards = []
    for pieces in shard_plan(shapes, max_values=SHARD_VALUES):
        digest = hashlib.sha256()
        for block in (block for piece in pieces for block in piece.blocks()):
            digest.update(content(block))
        shards.append(digest.hexdigest())
    return tuple(shards)


def _digest(shapes: Shapes, dtypes: Mapping[str, str], shards: Sequence[str]) -> str:
    heads = [[name, dtypes[name], list(shapes[name])] for name in sorted(shapes)]
    return hashlib.sha256(json.dumps([heads, list(shards)]).encode()).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new path in the same folder, and put what was written there in the place of ``path``.

    A reader of ``path`` sees the whole old file or the whole new one, also after a power cut. If
    the block raises, the old file stays.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)  # noqa: PTH105  os.replace is the name every reader knows
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def load_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read a whole file of tensors.

    Raises:
        WrongModelFile: the file is missing, cut short, not safetensors, or not float32.
    """
    if not path.is_file():
        raise WrongModelFile(path, "does not exist")
    try:
        arrays: dict[str, NDArray[np.float32]] = load_file(path)
    except SafetensorError as err:
        raise WrongModelFile(path, "is not a complete safetensors file") from err
    except (KeyError, TypeError, AttributeError) as err:  # a number format that numpy lacks
        raise WrongModelFile(path, "holds numbers that are not float32") from err
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise WrongModelFile(path, "holds numbers that are not float32")
    return arrays


def check_same_tensors(
    arrays: Mapping[str, NDArray[np.generic]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Make sure that ``arrays`` has exactly the expected names and shapes, in float32.

    Raises:
        WrongTensor: for the first name, in alphabetical order, that is missing, unexpected, of
            another shape or of another dtype.
    """
    for name in sorted(arrays.keys() | expected.keys()):
        array, shape = arrays.get(name), expected.get(name)
        wanted = "no such tensor" if shape is None else f"float32 {shape}"
        found = "missing" if array is None else f"{array.dtype} {array.shape}"
        if wanted != found:
            raise WrongTensor(name, found=found, expected=wanted)


def _sync(path: Path) -> None:
    """Have the operating system bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

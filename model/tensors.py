"""Named float32 tensors that are read piece by piece, wherever they lie.

A model of 5 GB passes through a process that never holds more than a few megabytes of it. What reads whole
tensors uses such a set like any other mapping; what has to be frugal asks for pieces.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

Shapes = Mapping[str, tuple[int, ...]]
"""Parameter name -> shape."""
BLOCK_VALUES = 2**18
"""Values that arithmetic over many sets holds of each at a time: 1 MiB in float32."""
SHARD_VALUES = 2**22
"""Values that are hashed, and travel, at a time: at most 16 MiB in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A run of one tensor's values in row-major order."""

    name: str
    start: int
    """First value."""
    stop: int
    """One past the last value."""

    @property
    def num_values(self) -> int:
        """Length of the run."""
        return self.stop - self.start

    def blocks(self) -> "Iterator[Piece]":
        """The same run in pieces of at most ``BLOCK_VALUES`` values."""
        for start in range(self.start, self.stop, BLOCK_VALUES):
            stop = min(start + BLOCK_VALUES, self.stop)
            yield Piece(name=self.name, start=start, stop=stop)


class Tensors(Mapping[str, NDArray[np.float32]], ABC):
    """A mapping from name to tensor, in order of name; each look-up reads the tensor anew."""

    @property
    @abstractmethod
    def shapes(self) -> Shapes:
        """Name and shape of every tensor."""

    @abstractmethod
    def piece(self, piece: Piece) -> NDArray[np.float32]:
        """The values of a piece, flat."""

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        shape = self.shapes[name]
        return self.piece(Piece(name=name, start=0, stop=prod(shape))).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.shapes))

    def __len__(self) -> int:
        return len(self.shapes)


class InMemory(Tensors):
    """Arrays that are in memory anyway."""

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        self._arrays = arrays

    @property
    def shapes(self) -> Shapes:
        """Name and shape of every tensor."""
        return {name: array.shape for name, array in self._arrays.items()}

    def piece(self, piece: Piece) -> NDArray[np.float32]:
        """The values of a piece, flat."""
        return np.ravel(self._arrays[piece.name])[piece.start : piece.stop]


def as_tensors(arrays: Mapping[str, NDArray[np.float32]]) -> Tensors:
    """The same arrays, readable by pieces."""
    return arrays if isinstance(arrays, Tensors) else InMemory(arrays)


def num_values(shapes: Shapes) -> int:
    """Values of all tensors together."""
    return sum(prod(shape) for shape in shapes.values())


def pieces_of(shapes: Shapes, *, max_values: int = BLOCK_VALUES) -> Iterator[Piece]:
    """Every value of every tensor once, in order of name, in pieces of whole rows where a row is not too long."""
    for name in sorted(shapes):
        shape = shapes[name]
        total, row = prod(shape), prod(shape[1:])
        step = max_values // row * row if 0 < row <= max_values else max_values
        for start in range(0, max(total, 1), step):
            yield Piece(name=name, start=start, stop=min(start + step, total))


def shard_plan(shapes: Shapes, *, max_values: int) -> tuple[tuple[Piece, ...], ...]:
    """The same pieces in order, gathered into shards of at most ``max_values`` values; empty tensors need none."""
    shards: list[list[Piece]] = []
    room = 0
    for piece in pieces_of(shapes, max_values=max_values):
        if piece.num_values == 0:
            continue
        if piece.num_values > room:
            shards.append([])
            room = max_values
        shards[-1].append(piece)
        room -= piece.num_values
    return tuple(tuple(pieces) for pieces in shards)

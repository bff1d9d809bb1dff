"""How far the sites' changes lie from each other, in one pass over all of them.

Distances are taken from differences. The usual short cut, |a|^2 + |b|^2 - 2 a.b, cancels where two changes are
alike, and gives rounding noise, even negative squares, exactly where the rules that look at distances need them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.tensors import Tensors, pieces_of

CELL = 2**13
"""Values of each site that are held in float64 at a time."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spread:
    """Where n changes lie, up to rotations."""

    squared: NDArray[np.float64]
    """Squared Euclidean distances over all tensors together, (n, n), symmetric with zeros on the diagonal."""
    norms: NDArray[np.float64]
    """Euclidean norms, (n,)."""


def spread(changes: Sequence[Tensors]) -> Spread:
    """Distances and norms of changes that hold the same tensors; one block of each is in memory at a time."""
    squared, lengths = np.zeros((len(changes), len(changes))), np.zeros(len(changes))
    for piece in pieces_of(changes[0].shapes):
        _measure([change.piece(piece) for change in changes], squared, lengths)
    return Spread(squared=squared + squared.T, norms=np.sqrt(lengths))


def _measure(
    blocks: Sequence[NDArray[np.float32]],
    squared: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> None:
    """Add what blocks of equal size contribute to the squares above the diagonal and to the squared norms."""
    size = blocks[0].size
    rows, room = np.empty((2, len(blocks), min(CELL, size)))
    for start in range(0, size, CELL):
        width = min(CELL, size - start)
        for row, block in zip(rows, blocks, strict=True):
            row[:width] = block[start : start + width]
        held = rows[:, :width]
        lengths += np.vecdot(held, held)
        for first in range(len(blocks) - 1):
            apart = np.subtract(
                held[first + 1 :], held[first], out=room[: len(blocks) - 1 - first, :width]
            )
            squared[first, first + 1 :] += np.vecdot(apart, apart)

"""Tensors that are a sum of two, read piece by piece like either."""

import numpy as np
from numpy.typing import NDArray

from model.tensors import Piece, Shapes, Tensors


class Sum(Tensors):
    """Some tensors, and others added to those that have their names: float32 plus float32, rounded once.

    Both sides of a study add alike, so that a hospital that adds a step has the bits of one that fetched everything.
    """

    def __init__(self, tensors: Tensors, more: Tensors) -> None:
        self._tensors, self._more = tensors, more

    @property
    def shapes(self) -> Shapes:
        """Of the first ones."""
        return self._tensors.shapes

    def piece(self, piece: Piece) -> NDArray[np.float32]:
        """The values of a piece, flat."""
        values = self._tensors.piece(piece)
        if piece.name not in self._more.shapes:
            return values
        return np.add(values, self._more.piece(piece), dtype=np.float32)

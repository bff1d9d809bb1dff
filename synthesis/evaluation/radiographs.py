"""Some radiographs, real or drawn, with what is known of them; pixels are read when they are needed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BATCH = 64
"""Pictures in memory at once, but for the trainings."""


class Source(Protocol):
    """A hospital's cache, or a file of drawn pictures."""

    def batch(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Images (batch, 1, h, w) in [-1, 1], and conditions."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Radiographs:
    """n radiographs of a source."""

    source: Source
    places: NDArray[np.int64]
    """(n,), of each in the source."""

    rows: NDArray[np.float32]
    """(n, attribute): what is known of each, or was asked for."""

    patients: NDArray[np.int64]
    """(n,); of a drawn radiograph the patient whose condition it has."""

    hospitals: NDArray[np.int64]
    """(n,), which of the hospitals, from 0 on."""

    def __len__(self) -> int:
        """Number of radiographs."""
        return len(self.places)

    def take(self, indices: NDArray[np.integer] | NDArray[np.bool_]) -> "Radiographs":
        """Some of them."""
        return replace(
            self,
            places=self.places[indices],
            rows=self.rows[indices],
            patients=self.patients[indices],
            hospitals=self.hospitals[indices],
        )

    def batches(self) -> Iterator[Tensor]:
        """Images (batch, 1, h, w) in [-1, 1], in order, a few at a time."""
        for first in range(0, len(self), BATCH):
            yield self.source.batch(self.places[first : first + BATCH])[0]

    def images(self) -> Tensor:
        """All images at once, (n, 1, h, w)."""
        return torch.cat(list(self.batches()))

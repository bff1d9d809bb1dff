"""What training reads of a hospital: its records, as pixels or as the latents of the study's autoencoder.

Latents are made anew for every batch. Kept ones would be a second copy of every patient, with its own key,
opt-outs and end.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.cache.records import Records
from model.codec.codec import Codec


class TrainingRecords(Protocol):
    """As much of ``Records`` as training needs."""

    @property
    def patients(self) -> NDArray[np.uint64]:
        """The opaque key of each record's patient."""

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Whether each record is kept away from training."""

    def __len__(self) -> int:
        """Number of records."""

    def batch(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """What the network sees of some records, (batch, channel, height, width), and their conditions."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedRecords:
    """Records through a codec."""

    records: Records
    codec: Codec

    @property
    def patients(self) -> NDArray[np.uint64]:
        """The opaque key of each record's patient."""
        return self.records.patients

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Whether each record is kept away from training."""
        return self.records.held_out

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Encode some records, on the processor; the pixels are forgotten."""
        images, conditions = self.records.batch(indices)
        return self.codec.encode(images), conditions

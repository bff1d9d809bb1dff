"""The contract of an encoder: pictures in, one row of features each out."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Encoder(Protocol):
    """Frozen; the same picture gives the same features whatever stands beside it in the batch."""

    name: str
    """What a report calls it, with where its weights come from."""

    num_features: int
    """Numbers per picture."""

    def features(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[np.ndarray, "batch feature"]:
        """Features of pictures in [-1, 1], of any size."""

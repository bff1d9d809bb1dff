"""The encoder that needs no weights from elsewhere: the last layer but one of a probe trained on the spot.

It sees what tells the probe's attributes apart and little else; its numbers compare models that were measured
with the same probe, and never with a published table.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from model.evaluation.probe import Probe


class ProbeEncoder:
    """Features of a probe."""

    def __init__(self, probe: Probe, *, trained_on: str) -> None:
        self._probe = probe
        self.name = f"built-in probe, trained on {trained_on}"
        self.num_features = probe.num_features

    def features(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[np.ndarray, "batch feature"]:
        """Features of pictures in [-1, 1], of any size."""
        return self._probe.features(images)

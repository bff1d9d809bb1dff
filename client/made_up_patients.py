"""The loss of patients who do not exist, on the real network: what the self-test at the start compares with a loop.

No record is read for it, so that whether the test passes tells nothing about anyone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.device import device_of
from model.flow import Draws, draw_noise, drawn_loss
from model.transformer import RectifiedFlowTransformer

AGE_STEP = 10.0
"""Years between two of them, the first new-born; all else that is known of them is the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeUpLoss:
    """Numbers of patients -> one loss each, the same at every call and in any company."""

    network: nn.Module
    transformer: RectifiedFlowTransformer
    """The network itself, inside of what is attached to it."""
    num_places: int
    """Noised radiographs of each."""

    def __call__(self, patients: NDArray[np.int64]) -> Tensor:
        """(patient,)."""
        made = [self._one(int(patient)) for patient in patients]
        image, condition, t, noise = (
            torch.stack(parts).to(device_of(self.network)) for parts in zip(*made, strict=True)
        )
        return drawn_loss(self.network, image, condition, Draws(t=t, noise=noise))

    def _one(self, patient: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image, condition, noise level and noise of every place."""
        config, schema = self.transformer.config, self.transformer.schema
        picture = (config.num_channels, config.input_size, config.input_size)
        generator = torch.Generator().manual_seed(patient)
        image = torch.rand(self.num_places, *picture, generator=generator) * 2 - 1
        draws = draw_noise((1, *picture), self.num_places, config.noise_size, generator)
        condition = torch.ones(self.num_places, len(schema.names))
        condition[:, 0] = AGE_STEP * patient
        return image, condition, draws.t[0], draws.noise[0]

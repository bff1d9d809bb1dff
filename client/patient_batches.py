"""The loss of patients: several radiographs and noise draws of each, averaged before anything is clipped.

A drawn patient takes ``max_images`` times ``num_draws`` places. Up to ``max_images`` of the radiographs, chosen at
random, are dealt to the places in turn; who has fewer is seen under more noise draws instead, so that no place is
empty and every patient costs the same.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.batches import patient_groups
from client.device import device_of
from client.training_records import TrainingRecords
from federation.stages import LocalTraining
from model.config import noise_size
from model.flow import Draws, draw_noise, drawn_loss
from model.tokens import drop_attributes
from privacy.training.entropy import Entropy, shuffled


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PatientLoss:
    """Numbers of patients -> one loss each; every call makes its choices anew."""

    network: nn.Module
    records: TrainingRecords
    groups: list[NDArray[np.int64]]
    """Training records of each patient, never none."""
    local: LocalTraining
    max_images: int
    entropy: Entropy

    def __call__(self, patients: NDArray[np.int64]) -> Tensor:
        """(patient,)."""
        places = np.stack([self._places(self.groups[patient]) for patient in patients])
        distinct, where = np.unique(places, return_inverse=True)
        image, condition = self.records.batch(distinct)
        which = torch.from_numpy(where.reshape(places.shape))
        return places_loss(
            self.network, image[which], condition[which], self.local, self.entropy.torch_generator()
        )

    def _places(self, group: NDArray[np.int64]) -> NDArray[np.int64]:
        """A record for each place of a patient."""
        chosen = group[shuffled(len(group), self.entropy)][: self.max_images]
        return np.resize(chosen, self.max_images * self.local.num_draws)


def training_patients(records: TrainingRecords) -> list[NDArray[np.int64]]:
    """Training records of each patient; no patients if all records are held out."""
    return [group for group in patient_groups(records) if len(group)]


def places_loss(
    network: nn.Module,
    image: Tensor,
    condition: Tensor,
    local: LocalTraining,
    generator: torch.Generator,
) -> Tensor:
    """Mean loss over each patient's places, (patient,), with attributes hidden and noise drawn for each place.

    Args:
        network: where it lies.
        image: (patient, place, channel, height, width).
        condition: (patient, place, attribute).
        local: how often attributes are hidden.
        generator: of both.
    """
    num_patients, num_places, num_channels, side, _ = image.shape
    hidden = drop_attributes(
        condition.flatten(0, 1), p_each=local.drop_each, p_all=local.drop_all, generator=generator
    )
    shape = (num_patients, num_channels, side, side)
    draws = draw_noise(shape, num_places, noise_size(num_channels, side), generator)
    device = device_of(network)
    moved = Draws(t=draws.t.to(device), noise=draws.noise.to(device))
    hidden = torch.unflatten(hidden, 0, (num_patients, num_places)).to(device)
    return drawn_loss(network, image.to(device), hidden, moved)

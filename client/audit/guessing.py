"""Guessing who was in the training of the real model, with the records of the hospital itself."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.audit.subject import Subject
from client.losses import record_losses
from client.training_records import TrainingRecords
from model.flow import Draws
from privacy.audit.membership import NOISE_LEVELS, Membership, membership

MAX_PATIENTS = 150
"""Of the training, and as many held out; drawn at random where there are more."""
MAX_IMAGES = 2
"""Radiographs of a patient, at most."""
DRAWS_PER_LEVEL = 2
AT_ONCE = 8
"""Records whose losses are computed together."""
MIN_PATIENTS = 10
"""On either side; with fewer an interval says nothing."""


class TooFewPatients(ValueError):
    """Nobody to compare with."""

    def __init__(self, num_training: int, num_held_out: int) -> None:
        super().__init__(
            f"{num_training} training and {num_held_out} held-out patients, at least {MIN_PATIENTS} of each are "
            "needed"
        )


def guess_members(subject: Subject, *, seed: int) -> Membership:
    """Tell training patients from held-out ones by the losses of the model, and of the base if there is one.

    Raises:
        TooFewPatients: there are not enough to compare.
    """
    rng = np.random.default_rng(seed)
    places = choose_records(subject.records, rng)
    base = None if subject.base is None else losses_of(subject.base, subject, places, seed=seed)
    return membership(
        losses_of(subject.network, subject, places, seed=seed),
        patients=subject.records.patients[places],
        held_out=subject.records.held_out[places],
        generator=rng,
        base_losses=base,
    )


def choose_records(records: TrainingRecords, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places of some records of some patients of either side, in ascending order.

    Raises:
        TooFewPatients: on either side.
    """
    sides = [np.flatnonzero(records.held_out == side) for side in (False, True)]
    counts = [len(np.unique(records.patients[side])) for side in sides]
    if min(counts) < MIN_PATIENTS:
        raise TooFewPatients(*counts)
    return np.sort(np.concatenate([_some(records.patients, side, rng) for side in sides]))


def losses_of(
    network: nn.Module, subject: Subject, places: NDArray[np.int64], *, seed: int
) -> NDArray[np.float64]:
    """Mean loss of each record over noise levels and draws; the seed fixes the noise, so that networks compare."""
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    parts = [
        _losses(network, subject.records.batch(places[first : first + AT_ONCE]), generator)
        for first in range(0, len(places), AT_ONCE)
    ]
    return np.concatenate(parts)


def _some(
    patients: NDArray[np.uint64], places: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Of some patients, a few records each."""
    mixed = rng.permutation(places)
    chosen = rng.permutation(np.unique(patients[places]))[:MAX_PATIENTS]
    return np.concatenate([mixed[patients[mixed] == patient][:MAX_IMAGES] for patient in chosen])


@torch.no_grad()
def _losses(
    network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
) -> NDArray[np.float64]:
    image, condition = batch
    levels = torch.tensor(NOISE_LEVELS).repeat(DRAWS_PER_LEVEL)
    shape = (len(image), len(levels), *image.shape[1:])
    draws = Draws(t=levels.repeat(len(image), 1), noise=torch.randn(shape, generator=generator))
    losses = record_losses(network, image.cpu(), condition, draws)
    return np.asarray(losses.double().cpu().numpy())

"""Which records a training step sees, and which of them one of several equal processes computes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.training_records import TrainingRecords
from federation.stages import LocalTraining


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One process's part of the work."""

    number: int
    """From 0."""
    of: int
    """Number of processes."""

    def part(self, num_records: int) -> slice:
        """Its records of a batch; none if there are fewer records than processes."""
        start, stop = (number * num_records // self.of for number in (self.number, self.number + 1))
        return slice(start, stop)


WHOLE = Share(number=0, of=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A share's part of some records, and how many there are in all."""

    image: Tensor
    """(part, channel, height, width), what the network sees of the part."""
    condition: Tensor
    """(part, attribute)."""
    num_records: int
    """Of all shares."""
    share: Share

    @property
    def part(self) -> slice:
        """Where in the whole its records lie."""
        return self.share.part(self.num_records)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole batch's images."""
        return (self.num_records, *self.image.shape[1:])

    def whole_condition(self) -> Tensor:
        """(batch, attribute), its conditions in their places and nothing in the others'."""
        whole = self.condition.new_zeros(self.num_records, self.condition.shape[1])
        whole[self.part] = self.condition
        return whole


def whole_batch(records: tuple[Tensor, Tensor]) -> Batch:
    """Images and conditions that one process computes alone."""
    image, condition = records
    return Batch(image=image, condition=condition, num_records=len(image), share=WHOLE)


def read_batch(records: TrainingRecords, indices: NDArray[np.integer], share: Share) -> Batch:
    """Read a share's part of the records with these indices."""
    image, condition = records.batch(indices[share.part(len(indices))])
    return Batch(image=image, condition=condition, num_records=len(indices), share=share)


def batches(
    records: TrainingRecords,
    local: LocalTraining,
    rng: np.random.Generator,
    share: Share = WHOLE,
) -> Iterator[Batch]:
    """Batches of the training part: patients with equal chance, then one of the patient's radiographs."""
    groups = patient_groups(records)
    for _ in range(local.local_steps):
        patients = rng.integers(len(groups), size=local.batch_size)
        indices = np.array([rng.choice(groups[patient]) for patient in patients])
        yield read_batch(records, indices, share)


def patient_groups(records: TrainingRecords) -> list[NDArray[np.int64]]:
    """Indices of the training records of each patient, in the order of the opaque patient keys."""
    training = np.flatnonzero(~records.held_out)
    keys = records.patients[training]
    order = np.argsort(keys, kind="stable")
    _, first = np.unique(keys[order], return_index=True)
    return np.split(training[order], first[1:])

"""The probe at work on radiographs that are read a few at a time."""

import numpy as np
import torch
from torch import Tensor

from model.conditioning import Schema
from model.evaluation.probe import Predictions, Probe, train_probe
from model.evaluation.probe_network import to_probe_size
from synthesis.evaluation.radiographs import Radiographs
from synthesis.evaluation.reading import Reading, readings

MAX_TRAINING = 4000
"""Radiographs that a probe learns from; more would not fit in memory, nor help a network this small."""


def small_images(radiographs: Radiographs) -> Tensor:
    """All images, reduced to what a probe sees, (n, 1, side, side)."""
    return torch.cat([to_probe_size(images) for images in radiographs.batches()])


def learn(parts: list[Radiographs], schema: Schema, *, seed: int, num_steps: int) -> Probe:
    """A probe trained on all the parts together.

    Raises:
        ProbeUntrainable: no attribute has examples enough.
    """
    images = torch.cat([small_images(part) for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    return train_probe(images, rows, schema, seed=seed, num_steps=num_steps)


def read(probe: Probe, radiographs: Radiographs, schema: Schema) -> dict[str, Reading]:
    """What a probe reads of radiographs, against what is known of them or was asked for."""
    return readings(predict(probe, radiographs), radiographs.rows, schema)


def predict(probe: Probe, radiographs: Radiographs) -> Predictions:
    """A probe's answers about radiographs."""
    parts = [probe.predict(images) for images in radiographs.batches()]
    return Predictions(
        age=np.concatenate([part.age for part in parts]),
        states={
            name: np.concatenate([part.states[name] for part in parts]) for name in parts[0].states
        },
    )

"""The outer step: how a mean change moves the global model."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.config import OuterStep
from model.arrays import Arrays
from server.aggregation import add


def outer_step(
    weights: Arrays, momentum: Arrays, change: Mapping[str, NDArray[np.float64]], step: OuterStep
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Next weights and velocity after one Nesterov step on the mean change.

    v <- momentum * v + change; weights <- weights + learning_rate * (change + momentum * v), which is
    PyTorch's SGD with ``nesterov=True`` on the negative change (Sutskever et al. 2013; DiLoCo, Douillard et al.
    2023, https://arxiv.org/abs/2311.08105). Rate 1 and momentum 0 add the mean change itself.
    """
    if step.momentum == 0.0:
        return add(weights, {name: step.learning_rate * part for name, part in change.items()}), {}
    velocity = {
        name: step.momentum * momentum[name].astype(np.float64) + part if name in momentum else part
        for name, part in change.items()
    }
    moved = {
        name: step.learning_rate * (part + step.momentum * velocity[name])
        for name, part in change.items()
    }
    return add(weights, moved), {name: part.astype(np.float32) for name, part in velocity.items()}

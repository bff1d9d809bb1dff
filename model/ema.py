"""A running average of weights, which draws better radiographs than the weights of any one round.

(Polyak and Juditsky 1992, https://doi.org/10.1137/0330046.) It is a function of what the
coordinator already has, so it costs no privacy.
"""

import numpy as np
from numpy.typing import NDArray

from model.arrays import Arrays, check_same_tensors


def update_average(
    average: Arrays, current: Arrays, *, decay: float
) -> dict[str, NDArray[np.float32]]:
    """Move the average towards the current weights; computed in float64.

    Args:
        average: the average so far; the first weights to begin with.
        current: the new weights, with the same names and shapes.
        decay: share of the average that stays, in [0, 1); 0.9 remembers about ten rounds.

    Raises:
        ValueError: decay out of range.
        WrongTensor: the two do not have the same tensors.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}, it must be at least 0 and below 1")
    check_same_tensors(current, {name: array.shape for name, array in average.items()})
    return {name: _mix(array, current[name], decay) for name, array in average.items()}


def _mix(old: NDArray[np.float32], new: NDArray[np.float32], decay: float) -> NDArray[np.float32]:
    """``decay * old + (1 - decay) * new``, written so that equal weights stay equal."""
    wide = old.astype(np.float64)
    wide += (1 - decay) * (new - wide)
    return wide.astype(np.float32)

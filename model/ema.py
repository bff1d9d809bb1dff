"""A running average of weights, which draws better radiographs than the weights of any one round.

(Polyak and Juditsky 1992, https://doi.org/10.1137/0330046.) It is a function of what the
coordinator already has, so it costs no privacy.
"""

import numpy as np
from jaxtyping import Float32


def average_piece(
    average: Float32[np.ndarray, " value"], weights: Float32[np.ndarray, " value"], *, decay: float
) -> Float32[np.ndarray, " value"]:
    """Move some values of the average towards the current weights; computed in float64.

    It is ``decay * average + (1 - decay) * weights``, written so that equal weights stay equal.

    Args:
        average: the average so far; the first weights to begin with.
        weights: the new weights.
        decay: share of the average that stays, in [0, 1); 0.9 remembers about ten rounds.

    Raises:
        ValueError: decay out of range.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}, it must be at least 0 and below 1")
    wide = average.astype(np.float64)
    wide += (1 - decay) * (weights - wide)
    return wide.astype(np.float32)

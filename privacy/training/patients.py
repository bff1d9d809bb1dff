"""Poisson sampling: every patient is drawn or not by a coin of their own.

The accounting rests on it. Shuffled batches of a fixed size are less private by up to an order of magnitude in
epsilon (Chua et al. 2024, https://arxiv.org/abs/2403.17673) and are not offered.
"""

import numpy as np
from numpy.typing import NDArray

from privacy.training.entropy import Entropy


def draw_patients(num_patients: int, sample_rate: float, entropy: Entropy) -> NDArray[np.int64]:
    """Numbers of the drawn patients, ascending; none is a draw like any other.

    Args:
        num_patients: of the hospital; it decides nothing else, least of all the rate.
        sample_rate: chance of every patient, in (0, 1], the study's constant.
        entropy: whose coins.
    """
    return np.flatnonzero(entropy.uniform(num_patients) < sample_rate).astype(np.int64)

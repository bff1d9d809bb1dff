"""Whether a probability means what it says: the expected calibration error.

(Guo et al. 2017, https://arxiv.org/abs/1706.04599.)
"""

import numpy as np
from jaxtyping import Bool, Float


def calibration_error(
    probabilities: Float[np.ndarray, " record"],
    labels: Bool[np.ndarray, " record"],
    *,
    num_bins: int = 15,
) -> float:
    """Mean distance of the foretold and the found share of positives over equal bins, weighted by records.

    Args:
        probabilities: of being positive, in [0, 1].
        labels: True for positives.
        num_bins: bins of equal width.

    Raises:
        ValueError: no record.
    """
    if not len(labels):
        raise ValueError("there is no record to measure calibration on")
    place = np.minimum((probabilities * num_bins).astype(int), num_bins - 1)
    foretold = np.bincount(place, weights=probabilities, minlength=num_bins)
    found = np.bincount(place, weights=labels, minlength=num_bins)
    return float(np.abs(foretold - found).sum() / len(labels))

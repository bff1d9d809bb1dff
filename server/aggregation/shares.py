"""Who counts how much in a round, and whether enough hospitals are there for it to count at all."""

from collections.abc import Iterable, Mapping
from statistics import median

import numpy as np
from numpy.typing import NDArray

MAX_WEIGHT_RATIO = 10.0


class QuorumNotMet(RuntimeError):
    """Too few hospitals were admitted for the round to count."""

    def __init__(self, *, round_number: int, admitted: int, required: int) -> None:
        super().__init__(
            f"round {round_number} has {admitted} admitted updates of at least {required}, so it does not count. "
            f"Every finished round is kept: look at `fedcxr coordinator status` for each hospital's reason, then "
            f"type `fedcxr coordinator run` again"
        )


def site_shares(records: Mapping[str, int], *, weighting: str) -> dict[str, float]:
    """Each site's share of the mean, in site order; the shares sum to 1.

    Args:
        records: Site name to number of usable records, as the site says; more than ten times the median
            counts as that.
        weighting: ``uniform`` or ``records``.
    """
    limit = MAX_WEIGHT_RATIO * median(records.values())
    weights = {
        site: 1.0 if weighting == "uniform" else min(float(records[site]), limit)
        for site in sorted(records)
    }
    total = sum(weights.values())
    return {site: weight / total for site, weight in weights.items()}


def l2_norm(tensors: Iterable[NDArray[np.float32]]) -> float:
    """Euclidean norm over all tensors, in float64."""
    return float(
        np.sqrt(sum(float(np.square(tensor, dtype=np.float64).sum()) for tensor in tensors))
    )

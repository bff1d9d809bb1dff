"""Fidelity and coverage apart: precision and recall, density and coverage, from nearest neighbours.

Precision and recall: Kynkaanniemi et al. 2019 (https://arxiv.org/abs/1904.06991). Density and coverage, which
outliers mislead less: Naeem et al. 2020 (https://arxiv.org/abs/2002.09797). All four depend on the number of
records; compare sets of equal size. Every record has a ball that reaches to its k-th neighbour in its own set.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from model.evaluation.distances import distance_blocks, neighbour_radius
from model.evaluation.features import Features, check_features


@dataclass(frozen=True, kw_only=True, slots=True)
class PRDC:
    """Shares in [0, 1], but for density."""

    precision: float
    """Of the synthetic records, how many lie in a real record's ball."""
    recall: float
    """Of the real records, how many lie in a synthetic record's ball."""
    density: float
    """In how many real balls a synthetic record lies, over k; can pass 1, and is 1 for equal sets."""
    coverage: float
    """Of the real records, how many have a synthetic one in their ball."""


def prdc(real: Features, fake: Float[np.ndarray, "other feature"], k: int = 5) -> PRDC:
    """The four measures, in memory that grows with the number of records and not with its square.

    Raises:
        FeaturesUnusable: k or fewer records, or values that are not finite.
    """
    check_features(real, fake, min_records=k + 1)
    real_radius, fake_radius = neighbour_radius(real, k), neighbour_radius(fake, k)
    num_balls = np.zeros(len(fake), dtype=np.int64)
    recalled, covered = np.zeros(len(real), dtype=bool), np.zeros(len(real), dtype=bool)
    for rows, distances in distance_blocks(real, fake):
        inside = distances < real_radius[rows, None]
        num_balls += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (distances < fake_radius).any(axis=1)
    return PRDC(
        precision=float((num_balls > 0).mean()),
        recall=float(recalled.mean()),
        density=float(num_balls.mean()) / k,
        coverage=float(covered.mean()),
    )

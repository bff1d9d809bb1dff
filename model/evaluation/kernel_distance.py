"""Kernel distances: maximum mean discrepancy of two sets of features, which needs no normal distribution.

The polynomial kernel is that of the kernel inception distance (Binkowski et al. 2018,
https://arxiv.org/abs/1801.01401), unbiased and therefore sometimes a little below 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from model.evaluation.distances import row_blocks
from model.evaluation.features import Features, check_features

Kernel = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelDistance:
    """Mean over subsets, and how much they differ."""

    value: float
    spread: float
    """Standard deviation between subsets."""
    subset_size: int
    num_subsets: int


def kernel_distance(
    real: Features,
    synthetic: Float[np.ndarray, "other feature"],
    *,
    generator: np.random.Generator,
    subset_size: int = 1000,
    num_subsets: int = 100,
) -> KernelDistance:
    """Polynomial kernel distance on random subsets; smaller sets than a subset make it smaller.

    Raises:
        FeaturesUnusable: fewer than two records, or values that are not finite.
    """
    check_features(real, synthetic)
    size = min(subset_size, len(real), len(synthetic))
    values = [
        kernel_distance_of_all(
            generator.permutation(real)[:size], generator.permutation(synthetic)[:size]
        )
        for _ in range(num_subsets)
    ]
    return KernelDistance(
        value=float(np.mean(values)),
        spread=float(np.std(values)),
        subset_size=size,
        num_subsets=num_subsets,
    )


def kernel_distance_of_all(real: Features, synthetic: Float[np.ndarray, "other feature"]) -> float:
    """Polynomial kernel distance of the whole sets at once, as CheXGenBench reports it.

    Raises:
        FeaturesUnusable: fewer than two records, or values that are not finite.
    """
    check_features(real, synthetic)
    first, second = real.astype(np.float64), synthetic.astype(np.float64)
    within = _mean_of_pairs(first, _polynomial) + _mean_of_pairs(second, _polynomial)
    return within - 2 * _mean(first, second, _polynomial)


def _polynomial(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (a @ b.T / a.shape[1] + 1) ** 3
    return result


def _mean(a: NDArray[np.float64], b: NDArray[np.float64], kernel: Kernel) -> float:
    """Mean of the kernel over all pairs, of one record each."""
    total = sum(float(kernel(a[rows], b).sum()) for rows in row_blocks(len(a), len(b)))
    return total / (len(a) * len(b))


def _mean_of_pairs(a: NDArray[np.float64], kernel: Kernel) -> float:
    """Mean of the kernel over all pairs of different records of one set."""
    with_itself = sum(float(kernel(row[None], row[None])[0, 0]) for row in a)
    return (_mean(a, a, kernel) * len(a) ** 2 - with_itself) / (len(a) * (len(a) - 1))

"""Frechet distance: how far apart two sets of features lie if both were normally distributed.

(Heusel et al. 2017, https://arxiv.org/abs/1706.08500.) It depends on the number of records: two samples of
one distribution lie apart, and the more so the fewer they are and the more features there are. Chong and
Forsyth 2020 (https://arxiv.org/abs/1911.07023) follow it to infinitely many records.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from model.evaluation.features import Features, check_features


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Mean and covariance of a set of features."""

    mean: Float[np.ndarray, " feature"]
    covariance: Float[np.ndarray, "feature feature"]


def moments(features: Features) -> Moments:
    """Mean and unbiased covariance, in float64."""
    wide = features.astype(np.float64)
    return Moments(mean=wide.mean(axis=0), covariance=np.atleast_2d(np.cov(wide, rowvar=False)))


def frechet(real: Features, synthetic: Float[np.ndarray, "other feature"]) -> float:
    """Squared Frechet distance of the normal distributions with the moments of the two sets, at least 0.

    Raises:
        FeaturesUnusable: fewer than two records, or values that are not finite.
    """
    check_features(real, synthetic)
    return frechet_of_moments(moments(real), moments(synthetic))


def frechet_of_moments(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2; the symmetric form has no complex roots."""
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ second.covariance @ root)
    shared = 2 * np.sqrt(np.maximum(cross, 0.0)).sum()
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    apart = np.square(first.mean - second.mean).sum()
    return max(0.0, float(apart + traces - shared))


def frechet_infinite(
    real: Features,
    synthetic: Float[np.ndarray, "other feature"],
    *,
    generator: np.random.Generator,
    num_sizes: int = 8,
) -> float:
    """Frechet distance that a line in 1/N foretells for infinitely many records.

    Both sets shrink together, from N, the size of the smaller, to N / 3, because a hospital's real set is
    as small as the synthetic one. May fall a little below 0.

    Raises:
        FeaturesUnusable: fewer than six records, or values that are not finite.
    """
    check_features(real, synthetic, min_records=6)
    largest = min(len(real), len(synthetic))
    sizes = np.linspace(largest // 3, largest, num_sizes).astype(int)
    distances = [
        frechet(generator.permutation(real)[:size], generator.permutation(synthetic)[:size])
        for size in sizes
    ]
    return float(np.polyfit(1 / sizes, distances, 1)[1])

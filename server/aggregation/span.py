"""Rules whose result is a weighted sum of the changes, with weights that follow from their distances.

The weights sum to 1. Changes of any size cost two passes only, one for the distances and one for the sum: in between,
each rule is solved on n x n numbers.
"""

import numpy as np
from numpy.typing import NDArray

from server.aggregation.distances import Spread

Weights = NDArray[np.float64]
"""One per site, (n,), in the order of the sites; they sum to 1."""

SMOOTHING = 1e-6
"""Radius of the smoothed geometric median, as a multiple of the median norm."""
MIN_RADIUS = 1e-9
"""Smallest radius, as a multiple of the smallest distance; keeps divisions finite where most changes are zero."""
TOLERANCE = 1e-9
"""Iterations end when they move by less than this fraction of the mean distance."""
MAX_ITERATIONS = 10_000


def multi_krum(measured: Spread, shares: Weights, num_faulty: int) -> Weights:
    """Shares of the n - f changes that have the nearest neighbours; the others get nothing.

    A change's score is the sum of the squared distances to its n - f - 2 nearest others (Krum, Blanchard et al. 2017,
    https://arxiv.org/abs/1703.02757); the n - f lowest scores are kept (multi-Krum), the first ones in the order of
    sites where scores are equal. Shares have no say in who is kept.

    Args:
        measured: distances of n >= 2 f + 3 changes.
        shares: in the same order.
        num_faulty: f.
    """
    num_kept = len(shares) - num_faulty
    others = np.sort(measured.squared, axis=1)[:, 1:]  # the nearest is the change itself
    scores = others[:, : num_kept - 2].sum(axis=1)
    weights = np.zeros_like(shares)
    kept = np.argsort(scores, kind="stable")[:num_kept]
    weights[kept] = shares[kept] / shares[kept].sum()
    return weights


def geometric_median(measured: Spread, shares: Weights) -> Weights:
    """The point with the smallest sum of distances, each times its share: RFA (Pillutla et al. 2022, https://arxiv.org/abs/1912.13445).

    The iteration is the paper's smoothed Weiszfeld algorithm, until it rests.
    """
    return _resting(measured, shares, SMOOTHING * float(np.median(measured.norms)))


def centred_clipping(measured: Spread, shares: Weights, clip_ratio: float) -> Weights:
    """The point v where the clipped changes cancel: sum of s_i (d_i - v) min(1, r / |d_i - v|) = 0.

    That is where the iteration of centred clipping (Karimireddy et al. 2021, https://arxiv.org/abs/2012.10333) comes
    to rest, v <- v + sum of s_i (d_i - v) min(1, r / |d_i - v|), from wherever it begins: the sum is the downhill
    direction of a convex function, Huber's of the distances. Sites with share a of the whole move the result by at
    most r a / (1 - a), if the others all lie within r of it.

    Args:
        measured: distances and norms of the changes.
        shares: in the same order.
        clip_ratio: the radius r, as a multiple of the median norm.
    """
    return _resting(measured, shares, clip_ratio * float(np.median(measured.norms)))


def _resting(measured: Spread, shares: Weights, radius: float) -> Weights:
    """The x at which every weight is proportional to share / max(distance, radius), found by repeating just that.

    With a small radius this is Weiszfeld's algorithm. Each repetition lowers the sum of Huber's function over the
    distances, so that both rules have the one that they need. Places are reckoned from the change with the smallest sum
    of distances, where the result is near, so that what was sent from far away costs them no digits.
    """
    apart = np.sqrt(measured.squared)
    if not apart.any():
        return shares
    radius = max(radius, MIN_RADIUS * float(apart[apart > 0].min()))
    middle = int((apart * shares).sum(axis=1).argmin())
    inner = _inner_products(measured.squared, middle)
    weights = shares
    for _ in range(MAX_ITERATIONS):
        away = _distances(inner, weights)
        before, weights = weights, _pull(shares, away, radius)
        if (np.abs(weights - before) * away).sum() <= TOLERANCE * (before * away).sum():
            break
    return weights


def _pull(shares: Weights, away: NDArray[np.float64], radius: float) -> Weights:
    pull: NDArray[np.float64] = shares / np.maximum(away, radius)
    pull /= pull.sum()
    return pull


def _inner_products(squared: NDArray[np.float64], middle: int) -> NDArray[np.float64]:
    """Of the changes as seen from one of them, (n, n).

    Of a change that is farther away than float64 has digits rounding is all that is left in the difference: what is
    more than Cauchy and Schwarz allow is cut off.
    """
    reach = squared[middle]
    bound = np.sqrt(reach[:, None]) * np.sqrt(reach)
    inner: NDArray[np.float64] = (reach[:, None] + reach - squared) / 2
    return inner.clip(-bound, bound)


def _distances(inner: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """Distance of each change from the point that has these weights, (n,)."""
    along = (inner * weights).sum(axis=1)
    away: NDArray[np.float64] = np.diag(inner) - 2 * along + (weights * along).sum()
    return np.sqrt(np.maximum(away, 0.0))

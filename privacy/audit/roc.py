"""How well a score tells members from others, and how sure that is with this many patients.

The area under the ROC curve speaks of all patients at once; an attacker who names few and is seldom wrong shows in
the share of members named while at most 1 % of the others are (Carlini et al. 2022, https://arxiv.org/abs/2112.03570).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import beta

Members = Float[np.ndarray, " member"]
Others = Float[np.ndarray, " other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number from few patients, and the ends between which it probably lies."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Separation:
    """Members against others by one score per patient."""

    auc: Estimate
    """Chance that a member scores higher than another patient, a tie counting half; 0.5 says nothing is known."""
    tpr: Estimate
    """Share of the members above a threshold that at most ``max_fpr`` of the others are above."""
    max_fpr: float
    num_members: int
    num_others: int


def separation(
    members: Members,
    others: Others,
    *,
    generator: np.random.Generator,
    max_fpr: float = 0.01,
    confidence: float = 0.95,
    num_resamples: int = 1000,
) -> Separation:
    """Area under the ROC curve and true-positive rate with intervals.

    Args:
        members: one finite score per patient of the training, higher meaning "was in it".
        others: the same of patients who were not in it.
        generator: of the resamples.
        max_fpr: share of the others that may be named, in [0, 1); below 100 others, 0.01 means none.
        confidence: of the intervals, in (0, 1).
        num_resamples: how many times patients are drawn with replacement.

    Raises:
        ValueError: one side is empty or a score is not finite.
    """
    _check(members, others)
    drawn = [_resample(members, others, generator) for _ in range(num_resamples)]
    aucs = np.array([area(*pair) for pair in drawn])
    tprs = np.array([true_positive_rate(*pair, max_fpr=max_fpr) for pair in drawn])
    tpr = true_positive_rate(members, others, max_fpr=max_fpr)
    exact = exact_interval(round(tpr * len(members)), len(members), confidence)
    return Separation(
        auc=_estimate(area(members, others), aucs, confidence),
        tpr=_widened(_estimate(tpr, tprs, confidence), exact),
        max_fpr=max_fpr,
        num_members=len(members),
        num_others=len(others),
    )


def area(members: Members, others: Others) -> float:
    """Chance that a member scores higher than another patient; a tie counts half."""
    ranked = np.sort(others)
    below = np.searchsorted(ranked, members, side="left")
    not_above = np.searchsorted(ranked, members, side="right")
    return float((below + not_above).mean() / (2 * len(others)))


def true_positive_rate(members: Members, others: Others, *, max_fpr: float) -> float:
    """Share of the members strictly above the threshold that lets at most ``max_fpr`` of the others pass."""
    num_passing = int(max_fpr * len(others) + 1e-9)  # 0.01 of 300 is 3, whatever floats say
    threshold = np.sort(others)[len(others) - 1 - num_passing]
    return float((members > threshold).mean())


def exact_interval(num_hits: int, num_trials: int, confidence: float) -> tuple[float, float]:
    """Ends for a share (Clopper and Pearson 1934); wide for few trials, and never a single point."""
    outside, num_misses = (1 - confidence) / 2, num_trials - num_hits
    low = float(beta.ppf(outside, num_hits, num_misses + 1)) if num_hits else 0.0
    high = float(beta.ppf(1 - outside, num_hits + 1, num_misses)) if num_misses else 1.0
    return low, high


def _check(members: Members, others: Others) -> None:
    if not len(members) or not len(others):
        raise ValueError(
            f"{len(members)} members and {len(others)} others: both must be there to compare"
        )
    if not (np.isfinite(members).all() and np.isfinite(others).all()):
        raise ValueError("a score is not finite: leave out patients that have none")


def _resample(
    members: Members, others: Others, generator: np.random.Generator
) -> tuple[Members, Others]:
    """As many of either side as there are, drawn with replacement."""
    return generator.choice(members, len(members)), generator.choice(others, len(others))


def _estimate(value: float, resampled: NDArray[np.float64], confidence: float) -> Estimate:
    outside = (1 - confidence) / 2
    low, high = np.quantile(resampled, [outside, 1 - outside])
    return Estimate(value=value, low=float(low), high=float(high))


def _widened(estimate: Estimate, ends: tuple[float, float]) -> Estimate:
    """Resampling knows that the threshold is uncertain, but gives one point where all or none are named."""
    return Estimate(
        value=estimate.value, low=min(estimate.low, ends[0]), high=max(estimate.high, ends[1])
    )

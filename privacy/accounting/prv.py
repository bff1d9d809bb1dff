"""Epsilon by composing privacy loss random variables numerically, within bounded time and memory.

The losses are put in bins; their number grows with epsilon and with the root of the steps, without limit. Where
it would pass ``MAX_BINS`` the bins become wider, which the bound pays for with a larger error, and where that is
not enough there is no bound from here.
"""

import math
import warnings
from collections.abc import Sequence

from opacus.accountants.analysis.prv import (
    Domain,
    PoissonSubsampledGaussianPRV,
    TruncatedPrivacyRandomVariable,
    compose_heterogeneous,
    discretize,
)
from scipy.fft import next_fast_len

from privacy.accounting.phase import Phase
from privacy.accounting.rdp import rdp_epsilon

MIN_ERROR, MAX_ERROR = 0.01, 0.1
"""Of epsilon; the bound is the estimate plus this much."""
MAX_BINS, MAX_TOTAL_BINS = 2**21, 2**23
"""Of one phase, and of all together: some seconds and a few hundred megabytes."""
MIN_DELTA = 1e-11
"""Below it the rounding of double precision decides."""
DELTA_SHARE = 1e-3
"""Part of delta that pays for cutting off the tails."""


def prv_epsilon(merged: Sequence[Phase], delta: float) -> float:
    """Upper bound on epsilon; infinite where it would take too many bins, or the numerics fail."""
    reach, fineness = _reach(merged, delta * DELTA_SHARE), _fineness(merged, delta * DELTA_SHARE)
    max_bins = min(MAX_BINS, MAX_TOTAL_BINS // len(merged))
    error = max(MIN_ERROR, 2 * reach * fineness / max_bins)
    if error > MAX_ERROR or delta < MIN_DELTA:
        return math.inf
    try:
        value = _composed(merged, delta, _bins(reach, error / fineness), error)
    except (ArithmeticError, RuntimeError, ValueError):
        return math.inf
    return max(0.0, value) if math.isfinite(value) else math.inf


def _composed(merged: Sequence[Phase], delta: float, bins: Domain, error: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of the logarithm of 0
        losses = [discretize(_truncated(phase, bins), bins) for phase in merged]
        total = compose_heterogeneous(losses, [phase.num_steps for phase in merged])
        _, _, upper = total.compute_epsilon(delta, delta * DELTA_SHARE, error)
    return float(upper)


def _truncated(phase: Phase, bins: Domain) -> TruncatedPrivacyRandomVariable:
    loss = PoissonSubsampledGaussianPRV(phase.sample_rate, phase.noise_multiplier)
    return TruncatedPrivacyRandomVariable(loss, bins.t_min, bins.t_max)


def _bins(reach: float, width: float) -> Domain:
    """Bins around 0, at least to ``reach`` on both sides, of a number that is fast to transform."""
    half = next_fast_len(math.ceil(reach / width) + 1, real=True)
    return Domain(t_min=-(half - 1) * width, t_max=half * width, size=2 * half)


def _reach(merged: Sequence[Phase], tail: float) -> float:
    """Loss beyond which the tails are cut off (Gopi et al. 2021, remark 5.6)."""
    num_steps = sum(phase.num_steps for phase in merged)
    of_one = (rdp_epsilon([_one_step(phase)], tail / (8 * num_steps)) for phase in merged)
    return max(rdp_epsilon(merged, tail / 4), *of_one) + 3


def _one_step(phase: Phase) -> Phase:
    return Phase(
        noise_multiplier=phase.noise_multiplier, sample_rate=phase.sample_rate, num_steps=1
    )


def _fineness(merged: Sequence[Phase], tail: float) -> float:
    """Bins per unit of loss that an error of 1 in epsilon takes."""
    num_steps = sum(phase.num_steps for phase in merged)
    return math.sqrt(num_steps * math.log(12 / tail) / 2)

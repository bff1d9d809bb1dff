"""Epsilon by Renyi divergences: looser than PRV, fast for any number of steps, and hard to make fail."""

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

from privacy.accounting.phase import Phase

ORDERS = np.array([*range(2, 33), *range(36, 65, 4), 80, 128, 256, 512], dtype=np.float64)
"""Of the Renyi divergence. Whole ones only: the series of a fractional order is long without limit where the noise is
large, and would tighten nothing below an epsilon of some 20."""


def rdp_epsilon(merged: Sequence[Phase], delta: float) -> float:
    """Upper bound on epsilon; infinite if no order gives one."""
    spent = np.zeros(len(ORDERS))
    for phase in merged:
        spent += _step(phase.noise_multiplier, phase.sample_rate) * phase.num_steps
    usable = np.isfinite(spent)
    if not usable.any():
        return math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "the optimal order is the largest": still a bound
        value, _ = get_privacy_spent(orders=ORDERS[usable], rdp=spent[usable], delta=delta)
    return max(0.0, float(value))


@lru_cache(maxsize=4096)
def _step(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    """Divergence of one step at every order; infinite where it cannot be computed. Shape (order,)."""
    return np.array([_divergence(noise_multiplier, sample_rate, float(o)) for o in ORDERS])


def _divergence(noise_multiplier: float, sample_rate: float, order: float) -> float:
    try:
        value = compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=order)
    except (ArithmeticError, ValueError):  # noise so small that its square is 0
        return math.inf
    return float(value) if value >= 0 else math.inf

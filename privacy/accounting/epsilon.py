"""From phases to epsilon: the smaller of two upper bounds, and infinity where neither can be had.

Both hold for patient-level (epsilon, delta)-differential privacy under adding or removing one patient. PRV
(Gopi et al. 2021, https://arxiv.org/abs/2106.02848) is tight; RDP (Mironov et al. 2019,
https://arxiv.org/abs/1908.10530) is looser, fast, and cannot fail for want of memory.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from privacy.accounting.phase import Phase, merge

ADJACENCY = "adding or removing one patient"


@dataclass(frozen=True, kw_only=True, slots=True)
class Epsilon:
    """Upper bounds on the epsilon of everything spent."""

    prv: float
    """By numerical composition; infinite where that would need too much memory, or failed."""
    rdp: float
    """By Renyi divergences; infinite where that failed."""
    delta: float

    @property
    def value(self) -> float:
        """The smaller of the two, since both hold; infinity is an answer that blocks, not an error."""
        return min(self.prv, self.rdp)

    @property
    def source(self) -> str:
        """Which of the two bounds `value` is."""
        return "prv" if self.prv <= self.rdp else "rdp"

    def __str__(self) -> str:
        """With all that an epsilon means nothing without."""
        return f"epsilon {self.value:.2f} at delta {self.delta:g} for {ADJACENCY}"


class DeltaTooLarge(ValueError):
    """A delta that allows to publish somebody's record as a whole."""

    def __init__(self, *, delta: float, num_patients: int) -> None:
        super().__init__(
            f"delta {delta:g} is too large for {num_patients} patients: at 1/{num_patients} or above, publishing "
            f"one patient's data would count as private. Give at most {1 / (10 * num_patients):g}."
        )


def check_delta(delta: float, num_patients: int) -> None:
    """Refuse a delta that promises nothing.

    Raises:
        ValueError: delta is not between 0 and 1, or there are no patients.
        DeltaTooLarge: at 1 / num_patients or above.
    """
    _check_range(delta)
    if num_patients < 1:
        raise ValueError(f"num_patients {num_patients} must be at least 1")
    if delta * num_patients >= 1:
        raise DeltaTooLarge(delta=delta, num_patients=num_patients)


def epsilon(phases: Iterable[Phase], delta: float) -> Epsilon:
    """What all phases together have spent, whatever their order; 0 for none.

    Raises:
        ValueError: delta is not between 0 and 1.
    """
    _check_range(delta)
    return _epsilon(merge(phases), delta)


@lru_cache(maxsize=1024)
def _epsilon(merged: tuple[Phase, ...], delta: float) -> Epsilon:
    """Kept, because a ledger asks for the same sum again and again."""
    if not merged:
        return Epsilon(prv=0.0, rdp=0.0, delta=delta)
    # Opacus brings torch along: a program that has nothing to account for does without its 300 MB.
    from privacy.accounting.prv import prv_epsilon  # noqa: PLC0415
    from privacy.accounting.rdp import rdp_epsilon  # noqa: PLC0415

    rdp = rdp_epsilon(merged, delta)
    return Epsilon(prv=prv_epsilon(merged, delta), rdp=rdp, delta=delta)


def combined_noise(*noise_multipliers: float) -> float:
    """Noise multiplier of several Gaussian releases of one sample, as one: (sum of s**-2) ** -0.5.

    Raises:
        ValueError: none given, or one that is not above 0.
    """
    if not noise_multipliers or min(noise_multipliers) <= 0:
        raise ValueError("noise multipliers must be above 0, and at least one")
    least = min(noise_multipliers)
    return least / math.hypot(*(least / multiplier for multiplier in noise_multipliers))


def _check_range(delta: float) -> None:
    if not (math.isfinite(delta) and 0 < delta < 1):
        raise ValueError(f"delta {delta} must be above 0 and below 1")

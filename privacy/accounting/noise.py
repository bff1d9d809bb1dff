"""How much noise a wanted epsilon takes, and how much of a step it leaves."""

import math
from collections.abc import Callable, Sequence

from privacy.accounting.epsilon import epsilon
from privacy.accounting.phase import Phase
from privacy.accounting.rdp import rdp_epsilon

Spending = Callable[[float], Sequence[Phase]]
"""What would be spent with a noise multiplier; more noise never spends more."""
MAX_NOISE = 1e6
COARSE, FINE = 2.0, 1.1
"""Factors between the noises that are tried first: with RDP from 1, then with both bounds from what RDP found."""
PRECISION = 1e-3
"""Relative, of the noise multiplier; what is returned is on the safe side."""


class NoNoiseSuffices(ValueError):
    """An epsilon that no amount of noise brings about."""

    def __init__(self, *, wanted: float, delta: float) -> None:
        super().__init__(
            f"no noise brings epsilon down to {wanted:g} at delta {delta:g}: ask for a larger epsilon, or plan "
            "fewer steps"
        )


def noise_multiplier_for(wanted: float, delta: float, sample_rate: float, num_steps: int) -> float:
    """Smallest noise multiplier, to a thousandth and never below, with which the steps spend at most ``wanted``.

    Raises:
        NoNoiseSuffices: not even an absurd amount does.
        ValueError: a number is out of its range.
    """

    def spending(noise_multiplier: float) -> list[Phase]:
        return [
            Phase(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps)
        ]

    return least_noise(wanted, delta, spending)


def least_noise(wanted: float, delta: float, spending: Spending) -> float:
    """Smallest noise multiplier, to a thousandth and never below, whose spending is at most ``wanted``.

    Raises:
        NoNoiseSuffices: not even an absurd amount does.
        ValueError: a number is out of its range.
    """
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"epsilon {wanted} must be finite and above 0")

    def suffices(noise: float) -> bool:
        return epsilon(spending(noise), delta).value <= wanted

    def suffices_by_rdp(noise: float) -> bool:
        return rdp_epsilon(spending(noise), delta) <= wanted

    low, high = _bracket(suffices_by_rdp, 1.0, COARSE)
    if high > MAX_NOISE:
        raise NoNoiseSuffices(wanted=wanted, delta=delta)
    _, enough = _narrow(suffices_by_rdp, low, high, FINE)
    low, high = _narrow(suffices, *_bracket(suffices, enough, FINE), 1 + PRECISION)
    return high


def _bracket(suffices: Callable[[float], bool], start: float, stride: float) -> tuple[float, float]:
    """A noise that does not suffice and the next of the scale, which does or passes ``MAX_NOISE``."""
    high = start
    while high <= MAX_NOISE and not suffices(high):
        high *= stride
    while suffices(high / stride):
        high /= stride
    return high / stride, high


def _narrow(
    suffices: Callable[[float], bool], low: float, high: float, ratio: float
) -> tuple[float, float]:
    """The same with no more than ``ratio`` between the two."""
    while high > low * ratio:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return low, high


def noise_to_signal(
    noise_multiplier: float, *, num_parameters: int, patients_per_step: float
) -> float:
    """Length of a step's noise over the longest possible sum of its clipped gradients, at one hospital.

    Both are divided by the same public number afterwards, which therefore does not matter. The mean of equal
    hospitals divides the noise alone, by the root of their number.
    """
    return noise_multiplier * math.sqrt(num_parameters) / patients_per_step

"""Steps of private training that cost alike: the unit that a ledger stores and that epsilon follows from."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Steps of one Gaussian mechanism on a Poisson sample of the patients (Abadi et al. 2016).

    Raises:
        ValueError: a number is out of its range; such a step has no accounting.
    """

    noise_multiplier: float
    """Standard deviation of the noise over the largest share of one patient (sigma); above 0, finite."""
    sample_rate: float
    """Chance of every patient to be drawn in a step (q); above 0, at most 1."""
    num_steps: int
    """How often noise is added; a step that drew nobody counts. At least 1."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise ValueError(
                f"noise_multiplier {self.noise_multiplier} must be finite and above 0: "
                "without noise there is no privacy to account for"
            )
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate {self.sample_rate} must be above 0 and at most 1")
        if self.num_steps < 1:
            raise ValueError(f"num_steps {self.num_steps} must be at least 1")


def merge(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """The same spending in as few phases as can be, in an order that does not depend on the given one."""
    num_steps: Counter[tuple[float, float]] = Counter()
    for phase in phases:
        num_steps[phase.noise_multiplier, phase.sample_rate] += phase.num_steps
    return tuple(
        Phase(noise_multiplier=noise, sample_rate=rate, num_steps=count)
        for (noise, rate), count in sorted(num_steps.items())
    )

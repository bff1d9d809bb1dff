"""The numbers that fix what a private step does; every one is a public constant of the study."""

import math
from dataclasses import dataclass

from privacy.training.checks import NotPrivate


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRelease:
    """How the loss of a step leaves: a sum and a number, each with noise."""

    noise_multiplier: float
    """Standard deviation of the noise, in units of ``max_loss`` on the sum and of 1 on the number."""
    max_loss: float
    """Value that no patient's loss exceeds before it is added up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mechanism:
    """DP-SGD over patients (Abadi et al. 2016, https://arxiv.org/abs/1607.00133).

    Without noise and bounds it is plain training on Poisson samples, which tests compare it with;
    ``require_private`` stands between that and a hospital.
    """

    noise_multiplier: float
    """Standard deviation of the noise on a step's sum, in units of ``max_grad_norm`` (sigma)."""
    sample_rate: float
    """Chance of every patient to be drawn in a step (q)."""
    max_grad_norm: float
    """L2 norm that no patient's gradient exceeds (C); infinite without clipping."""
    batch_size: int
    """What every step's sum is divided by, whoever was drawn (L)."""
    loss: LossRelease | None = None
    """None: nothing of the loss leaves."""

    def __post_init__(self) -> None:
        if not self.noise_multiplier >= 0 or not self.max_grad_norm > 0:
            raise ValueError("noise_multiplier must be at least 0 and max_grad_norm above 0")
        if not 0 < self.sample_rate <= 1 or self.batch_size < 1:
            raise ValueError("sample_rate must be in (0, 1] and batch_size at least 1")
        if self.noise_multiplier and not math.isfinite(self.noise_scale):
            raise ValueError("noise needs a finite max_grad_norm to be measured in")

    @property
    def noise_scale(self) -> float:
        """Standard deviation of the noise on every number of a step's sum."""
        return self.noise_multiplier * self.max_grad_norm if self.noise_multiplier else 0.0


def require_private(mechanism: Mechanism) -> None:
    """Refuse a mechanism that no epsilon can be computed for.

    Raises:
        NotPrivate: noise is missing somewhere.
    """
    if mechanism.noise_multiplier == 0:
        raise NotPrivate("noise_multiplier is 0: without noise there is no differential privacy")
    if mechanism.loss is not None and not mechanism.loss.noise_multiplier > 0:
        raise NotPrivate("loss_noise_multiplier is 0: a loss may leave with noise or not at all")

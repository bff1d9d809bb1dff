"""One private step: draw patients, add up their clipped gradients, add noise, move.

The step is one Gaussian mechanism on one Poisson sample. Nobody drawn is a step like any other: noise is added, the
optimizer moves, and the ledger has paid for it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from privacy.training.entropy import Entropy
from privacy.training.gradients import Clipper, LossOf, clipped_sum
from privacy.training.mechanism import LossRelease, Mechanism
from privacy.training.patients import draw_patients


@dataclass(frozen=True, kw_only=True, slots=True)
class NoisedLoss:
    """What may leave of a step's losses; the mean of a round is the sum of totals over the sum of counts."""

    total: float
    """Sum of the drawn patients' losses, each at most ``max_loss``, plus noise."""
    count: float
    """Number of drawn patients, plus noise."""


def private_step(
    clipper: Clipper,
    optimizer: torch.optim.Optimizer,
    loss_of: LossOf,
    mechanism: Mechanism,
    *,
    num_patients: int,
    at_once: int,
    entropy: Entropy,
) -> NoisedLoss | None:
    """Move the trained tensors once; what is returned and where they are then is all that may leave.

    Args:
        clipper: on the network.
        optimizer: over the clipper's parameters.
        loss_of: one loss per patient; numbers are from 0 to ``num_patients`` - 1.
        mechanism: the study's constants.
        num_patients: of the hospital; may be 0.
        at_once: patients in memory at a time.
        entropy: of the draw and the noise.

    Returns:
        The noised loss if the mechanism releases one.
    """
    patients = draw_patients(num_patients, mechanism.sample_rate, entropy)
    clipped = clipped_sum(
        clipper, loss_of, patients, max_grad_norm=mechanism.max_grad_norm, at_once=at_once
    )
    for name, parameter in clipper.parameters.items():
        parameter.grad = noised(clipped.gradient[name], mechanism.noise_scale, entropy).div_(
            mechanism.batch_size
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return noised_loss(clipped.losses, mechanism.loss, entropy) if mechanism.loss else None


def noised(value: Float[Tensor, "*any"], scale: float, entropy: Entropy) -> Float[Tensor, "*any"]:
    """A tensor with normal noise on every number; they are added with 53 bits and rounded afterwards."""
    if scale == 0:
        return value.clone()
    noise = torch.from_numpy(entropy.normal(value.numel())).reshape(value.shape)
    return noise.mul_(scale).add_(value.detach().cpu()).to(value.dtype).to(value.device)


def noised_loss(
    losses: Float[Tensor, " patient"], release: LossRelease, entropy: Entropy
) -> NoisedLoss:
    """Sum and number with noise; a loss that is no number adds 0."""
    bounded = losses.double().nan_to_num(nan=0.0).clamp(0.0, release.max_loss)
    first, second = entropy.normal(2) * release.noise_multiplier
    return NoisedLoss(
        total=float(bounded.sum()) + release.max_loss * float(first),
        count=len(losses) + float(second),
    )


def mean_loss(steps: list[NoisedLoss]) -> float:
    """Of a round; NaN if none left or the noise leaves no patient."""
    count = sum(step.count for step in steps)
    return sum(step.total for step in steps) / count if count > 0 else float("nan")

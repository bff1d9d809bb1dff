"""The velocity at a point of the flow, as the network sees it or pushed away from another condition.

Guidance moves from what the network would draw under one condition through what it would draw under
another, and on (Ho and Salimans 2022, https://arxiv.org/abs/2207.12598), only at medium noise levels
(Kynkaanniemi et al. 2024, https://arxiv.org/abs/2404.07724). With scale 1 the network is called once.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from model.flow import Denoiser
from model.tokens import null_like

Latents = Float[Tensor, "batch channel height width"]
"""Pictures in [-1, 1], or what a codec makes of them."""

Condition = Float[Tensor, "batch attribute"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Guidance:
    """How far a sample is pushed, and where."""

    scale: float
    """1 follows the condition as learned; more exaggerates it and costs variety; 0 ignores it."""

    interval: tuple[float, float] = (0.1, 0.9)
    """Noise levels between which the push acts, both included."""

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"the guidance interval is {low} to {high}, it must lie in 0 to 1")
        if self.scale < 0:
            raise ValueError(f"the guidance scale is {self.scale}, it must be at least 0")

    def acts_at(self, t: float) -> bool:
        """Whether the network has to be asked twice at this noise level."""
        low, high = self.interval
        return self.scale != 1.0 and low <= t <= high


NO_GUIDANCE = Guidance(scale=1.0)


def velocity_at(network: Denoiser, x: Latents, t: float, condition: Condition) -> Latents:
    """Noise minus image at noise level ``t`` in (0, 1], one draw per record.

    Not damped near t = 0 as in the loss: there the damping would leave noise in a sample.
    """
    levels = x.new_full((len(x), 1), t)
    image = network(x.unsqueeze(1), levels, condition.unsqueeze(1)).squeeze(1)
    return (x - image) / t


def guided_velocity(
    network: Denoiser,
    x: Latents,
    t: float,
    condition: Condition,
    guidance: Guidance,
    *,
    away_from: Condition | None = None,
) -> Latents:
    """Velocity at ``t`` under ``condition``, pushed away from another condition.

    Args:
        network: predicts images, on the device of ``x``.
        x: points of the flow.
        t: noise level in (0, 1].
        condition: age in years or NaN, then ids with 0 for null.
        guidance: how far, and where.
        away_from: what to move away from; by default the condition of which nothing is known.
    """
    velocity = velocity_at(network, x, t, condition)
    if not guidance.acts_at(t):
        return velocity
    other = null_like(condition) if away_from is None else away_from
    unguided = velocity_at(network, x, t, other)
    return unguided + guidance.scale * (velocity - unguided)

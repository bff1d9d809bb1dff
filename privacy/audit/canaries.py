"""A rehearsal of private training with fake patients, of whom onlookers must learn no more than was claimed.

Each fake patient, a canary, pulls the weights in a direction of its own, harder than clipping allows, and is in the
training by a fair coin. An onlooker sees what every step of the real training code releases, looks along each
direction and guesses how the coin fell. More right guesses than epsilon allows prove that the code is less private
than it says (`privacy.audit.one_run`). No patient and no model of a study takes part.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from privacy.accounting.epsilon import epsilon
from privacy.accounting.phase import Phase
from privacy.audit.one_run import LowerBound, lower_bound
from privacy.training.entropy import Entropy, SystemEntropy
from privacy.training.gradients import Clipper, LossOf, clipping
from privacy.training.mechanism import Mechanism
from privacy.training.step import private_step

SIGNIFICANCE = 0.05
"""Chance that theory allows for accusing training that keeps its promise; the two onlookers share it."""
SHARES = (0.05, 0.1, 0.2, 0.4)
"""Of the canaries to guess "in"; fewer guesses would prove little, however right."""
AT_ONCE = 128
"""Canaries in memory at a time."""

Releases = Float[np.ndarray, "step canary"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is rehearsed: an epsilon of about 1, where right guesses can prove the most against a claim."""

    mechanism: Mechanism = field(
        default_factory=lambda: Mechanism(
            noise_multiplier=5.0, sample_rate=0.25, max_grad_norm=4.0, batch_size=256
        )
    )
    """What is claimed. Neither the bound nor the divisor is 1, so that noise that forgets one is seen."""
    num_steps: int = 25
    delta: float = 1e-5
    side: int = 50
    """A layer has side x side weights; there is a canary for each."""
    num_layers: int = 4
    """Layers that every canary pulls at alike; clipped in each by itself it pulls too hard by the root of them."""
    num_images: int = 4
    """Images of a canary, all alike: clipped one by one and added up, they pull 4 times too hard."""
    strength: float = 8.0
    """Norm of a canary's gradient before it is clipped, in units of ``max_grad_norm``."""

    @property
    def num_canaries(self) -> int:
        """As many as a layer has weights: no two pull at the same one."""
        return self.side**2

    @property
    def claimed_epsilon(self) -> float:
        """Of all steps, under adding or removing one canary."""
        phase = Phase(
            noise_multiplier=self.mechanism.noise_multiplier,
            sample_rate=self.mechanism.sample_rate,
            num_steps=self.num_steps,
        )
        return epsilon([phase], self.delta).value


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """What was claimed, and what guesses proved."""

    claimed_epsilon: float
    delta: float
    lower_bound: float
    """Epsilon of the code is larger than this, but for a chance of 5 %."""
    num_canaries: int
    num_guesses: int
    num_right: int

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        """Fail: the claim is refuted. Pass: it is not, by an onlooker who tried only this."""
        return "fail" if self.lower_bound > self.claimed_epsilon else "pass"


class CanaryNetwork(nn.Module):
    """Linear layers side by side; its output is their sum, so that every weight has a direction of its own."""

    def __init__(self, side: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(side, side, bias=False) for _ in range(num_layers))
        for layer in self.layers:
            nn.init.zeros_(layer.get_parameter("weight"))

    def forward(
        self, images: Float[Tensor, "patient image side"]
    ) -> Float[Tensor, "patient image side"]:
        """Sum over the layers."""
        return torch.stack([layer(images) for layer in self.layers]).sum(dim=0)

    def along_canaries(self) -> Float[Tensor, " canary"]:
        """How far the weights are along each canary's direction, a vector of length 1 over all layers."""
        weights = [layer.get_parameter("weight").detach().flatten() for layer in self.layers]
        return torch.stack(weights).sum(dim=0) / math.sqrt(len(weights))


def rehearse(
    plan: Plan | None = None,
    *,
    way: Callable[[nn.Module], Clipper],
    noise_share: float = 1.0,
    entropy: Entropy | None = None,
) -> Rehearsal:
    """Train on canaries with the real code, and compare what an onlooker can tell with the claim.

    Args:
        plan: what is rehearsed.
        way: to clip, ``Ghost`` or ``Materialised``.
        noise_share: of the claimed noise that is really added; less than 1 breaks the promise on purpose, to show
            that this rehearsal would see it.
        entropy: of coins, sampling and noise; the operating system's if None.
    """
    plan, entropy = plan or Plan(), entropy or SystemEntropy()
    is_in = entropy.uniform(plan.num_canaries) < 0.5
    releases = train_canaries(plan, is_in, way=way, noise_share=noise_share, entropy=entropy)
    bound = best_bound(releases, is_in, delta=plan.delta)
    return Rehearsal(
        claimed_epsilon=plan.claimed_epsilon,
        delta=plan.delta,
        lower_bound=bound.epsilon,
        num_canaries=plan.num_canaries,
        num_guesses=bound.num_guesses,
        num_right=bound.num_right,
    )


def train_canaries(
    plan: Plan,
    is_in: Bool[np.ndarray, " canary"],
    *,
    way: Callable[[nn.Module], Clipper],
    noise_share: float,
    entropy: Entropy,
) -> Releases:
    """What every step releases along each canary's direction.

    Args:
        plan: what is rehearsed.
        is_in: canaries that are patients of the data set.
        way: to clip.
        noise_share: of the claimed noise.
        entropy: of sampling and noise.
    """
    network = CanaryNetwork(plan.side, plan.num_layers)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    noise_multiplier = plan.mechanism.noise_multiplier * noise_share
    seen = [network.along_canaries()]
    with clipping(network, way) as clipper:
        for _ in range(plan.num_steps):
            private_step(
                clipper,
                optimizer,
                _loss_of(network, plan, np.flatnonzero(is_in)),
                replace(plan.mechanism, noise_multiplier=noise_multiplier),
                num_patients=int(is_in.sum()),
                at_once=AT_ONCE,
                entropy=entropy,
            )
            seen.append(network.along_canaries())
    return torch.stack(seen).double().diff(dim=0).numpy()


def best_bound(
    releases: Releases, is_in: Bool[np.ndarray, " canary"], *, delta: float
) -> LowerBound:
    """The better of two onlookers, each allowed half of the chance of being wrong.

    One adds up what the steps release, where noise weighs least. The other looks how much a canary's direction
    moves from step to step, which shows noise that repeats itself.
    """
    looks = (releases.sum(axis=0), np.ptp(releases, axis=0))
    bounds = [
        lower_bound(
            scores, is_in, delta=delta, significance=SIGNIFICANCE / len(looks), shares=SHARES
        )
        for scores in looks
    ]
    return max(bounds, key=lambda bound: bound.epsilon)


def _loss_of(network: CanaryNetwork, plan: Plan, canaries: Int64[np.ndarray, " member"]) -> LossOf:
    """Losses whose gradients pull each canary's weight up in every layer."""
    pull = plan.strength * plan.mechanism.max_grad_norm / math.sqrt(plan.num_layers)

    def loss_of(
        chosen: Int64[np.ndarray, " patient"],
    ) -> Float[Tensor, " patient"]:
        row, column = np.divmod(canaries[chosen], plan.side)
        image = nn.functional.one_hot(torch.from_numpy(column), plan.side).float()
        output = network(image[:, None].expand(-1, plan.num_images, -1))
        pulled: Tensor = output[torch.arange(len(row)), :, torch.from_numpy(row)].mean(dim=1)
        return -pull * pulled

    return loss_of

"""An attempt to read one of the hospital's radiographs out of the gradient of one step."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from client.audit.subject import Subject
from model.adapter import adapter_parameters, attach, load
from model.checkpoint import load_model
from model.flow import Draws, draw_noise, flow_loss
from model.folder import open_weights
from privacy.audit.inversion import (
    Attack,
    GradientOf,
    Likeness,
    clipped_and_noised,
    invert,
    likeness,
    norm_of,
)

BUDGET_SECONDS = 60.0
"""For each of the three searches, at most."""
FEWEST_STEPS = 20
USUAL_NOISE = 1.0
"""Noise multiplier of the private step where the study has none."""


class NobodyToRead(ValueError):
    """Too few patients for the attack and its control."""

    def __init__(self) -> None:
        super().__init__("the cache holds radiographs of fewer than two training patients")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadBack:
    """How like one radiograph the reconstructions are."""

    bare: Likeness
    """From its own gradient, as a step without privacy computes it for a batch of one."""
    unrelated: Likeness
    """From the gradient of another patient's radiograph: what chests have in common."""
    private: Likeness
    """From its own gradient after clipping and noise."""
    noise_multiplier: float
    """Of the private step."""
    num_steps: int
    """Of each search."""

    @property
    def bare_gain(self) -> float:
        """Correlation that the bare gradient gives beyond the unrelated one's."""
        return self.bare.correlation - self.unrelated.correlation

    @property
    def private_gain(self) -> float:
        """The same of the private gradient."""
        return self.private.correlation - self.unrelated.correlation


def read_back(
    subject: Subject,
    *,
    noise_multiplier: float | None,
    seed: int,
) -> ReadBack:
    """Attack one training radiograph three times.

    Args:
        subject: what is audited.
        noise_multiplier: of the study; None if it has none.
        seed: of the radiographs and of the searches.

    Raises:
        NobodyToRead: fewer than two training patients.
    """
    target, other = _two_patients(subject, np.random.default_rng(seed))
    generator = torch.Generator().manual_seed(seed)
    network, parameters = _trained_part(subject)
    image, condition, unrelated = (part.to(parameters[0].device) for part in (*target, other[0]))
    side = subject.generator.network.config.noise_size
    draws = _on(draw_noise(tuple(image.shape), 1, side, generator), image.device)
    gradient_of = _gradient_of(network, parameters, condition, draws)
    bare = _constant(gradient_of(image))
    noise = USUAL_NOISE if noise_multiplier is None else noise_multiplier
    private = clipped_and_noised(
        bare,
        noise_multiplier=noise,
        max_grad_norm=norm_of(bare),  # clipping costs the attacker nothing
        generator=generator,
    )
    attack = Attack(num_steps=_affordable(bare, gradient_of, image))
    observed = (bare, _constant(gradient_of(unrelated)), private)
    found = [_attempt(one, gradient_of, image, attack, seed=seed) for one in observed]
    return ReadBack(
        bare=found[0],
        unrelated=found[1],
        private=found[2],
        noise_multiplier=noise,
        num_steps=attack.num_steps,
    )


def _attempt(
    observed: Sequence[Tensor],
    gradient_of: GradientOf,
    truth: Tensor,
    attack: Attack,
    *,
    seed: int,
) -> Likeness:
    """How near one search comes to the truth; all searches begin alike."""
    start = torch.Generator().manual_seed(seed)
    found = invert(observed, gradient_of, shape=tuple(truth.shape), attack=attack, generator=start)
    return likeness(found.pictures, truth)


def _two_patients(
    subject: Subject, rng: np.random.Generator
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """One training radiograph each of two patients, as the network sees them."""
    places = rng.permutation(np.flatnonzero(~subject.records.held_out))
    patients = subject.records.patients[places]
    others = places[patients != patients[0]] if len(places) else places
    if not len(others):
        raise NobodyToRead
    return subject.records.batch(places[:1]), subject.records.batch(others[:1])


def _trained_part(subject: Subject) -> tuple[nn.Module, list[nn.Parameter]]:
    """The network as a hospital trains it, and the weights whose gradient it would compute."""
    adapter = subject.manifest.adapter
    if adapter is None or subject.base_path is None:
        network = subject.network.eval().requires_grad_(requires_grad=True)
        return network, list(network.parameters())
    base, _ = load_model(subject.base_path)
    base = base.to(next(subject.network.parameters()).device)
    adapted = attach(base, adapter, torch.Generator())
    load(adapted, open_weights(subject.model_path)[0])
    return adapted.eval(), list(adapter_parameters(adapted).values())


def _gradient_of(
    network: nn.Module, parameters: Sequence[nn.Parameter], condition: Tensor, draws: Draws
) -> GradientOf:
    """The attacker's model of a step: the same network, condition, noise level and noise."""

    def gradient_of(image: Tensor) -> Sequence[Tensor]:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
            loss = flow_loss(network, image, condition, draws).mean()
            return torch.autograd.grad(loss, parameters, create_graph=True)

    return gradient_of


def _affordable(
    observed: Sequence[Tensor],
    gradient_of: Callable[[Tensor], Sequence[Tensor]],
    image: Tensor,
) -> int:
    """Steps of a search that the budget allows, by the time that two of them take."""
    started = time.monotonic()
    invert(
        observed,
        gradient_of,
        shape=tuple(image.shape),
        attack=Attack(num_steps=2),
        generator=torch.Generator().manual_seed(0),
    )
    seconds = (time.monotonic() - started) / 2
    return int(np.clip(BUDGET_SECONDS / max(seconds, 1e-9), FEWEST_STEPS, Attack().num_steps))


def _constant(gradient: Sequence[Tensor]) -> list[Tensor]:
    return [part.detach() for part in gradient]


def _on(draws: Draws, device: torch.device) -> Draws:
    return Draws(t=draws.t.to(device), noise=draws.noise.to(device))

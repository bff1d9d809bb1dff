"""Sums of clipped gradients: every patient adds a vector no longer than the bound, or nothing.

Two ways to the same sum. ``Materialised`` holds the gradient of every patient of a virtual batch, which is cheap for
adapters. ``Ghost`` learns the norms in one backward pass and the sum of the scaled losses' gradients in another, and
never holds a patient's gradient of a whole network (Li et al. 2021, https://arxiv.org/abs/2110.05679).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from privacy.training.opacus_hooks import GradientHooks, NormHooks, quiet

LossOf = Callable[[Int64[np.ndarray, " patient"]], Float[Tensor, " patient"]]
"""Numbers of patients -> one loss each; the first axis of what every layer sees is the patient."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clipped:
    """What some patients add to a step; nothing in it has noise yet, so nothing of it may leave."""

    gradient: dict[str, Tensor]
    """Sum of the clipped gradients of each trained tensor, float32."""
    norms: Float[Tensor, " patient"]
    """Of the gradients before clipping; not finite for a patient who adds nothing."""
    losses: Float[Tensor, " patient"]


@runtime_checkable
class Clipper(Protocol):
    """A way to sums of clipped gradients, tied to one network until ``release``."""

    parameters: dict[str, nn.Parameter]

    def clip(
        self, loss_of: LossOf, patients: Int64[np.ndarray, " patient"], max_grad_norm: float
    ) -> Clipped:
        """The sum over at least one patient, all in memory at once."""

    def first_of_two_passes(self) -> AbstractContextManager[None]:
        """For activation checkpointing to put around what it will compute again."""

    def release(self) -> None:
        """Leave the network as it was."""


class Materialised:
    """Every patient's gradient, scaled and added up."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = trainable(network)
        self._hooks = GradientHooks(network)
        self.first_of_two_passes, self.release = (
            self._hooks.first_of_two_passes,
            self._hooks.release,
        )

    def clip(
        self, loss_of: LossOf, patients: Int64[np.ndarray, " patient"], max_grad_norm: float
    ) -> Clipped:
        """One forward and one backward pass."""
        with self._hooks.forward_pass(len(patients)):
            losses = _losses(loss_of, patients)
        with quiet():
            torch.autograd.grad(losses.sum(), self._hooks.starts)
        gradients = self._hooks.take(self.parameters)
        norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients.values()]).norm(
            dim=0
        )
        factors, counted = clip_factors(norms, max_grad_norm), norms.isfinite()
        if not counted.all():
            gradients = {name: each[counted] for name, each in gradients.items()}
            factors = factors[counted]
        summed = {name: torch.tensordot(factors, each, dims=1) for name, each in gradients.items()}
        return Clipped(gradient=summed, norms=norms, losses=losses.detach())


class Ghost:
    """Norms first; then the gradient of the losses, each scaled by its own factor."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = trainable(network)
        self._hooks = NormHooks(network)
        self.first_of_two_passes, self.release = (
            self._hooks.first_of_two_passes,
            self._hooks.release,
        )

    def clip(
        self, loss_of: LossOf, patients: Int64[np.ndarray, " patient"], max_grad_norm: float
    ) -> Clipped:
        """One forward and two backward passes, and all again without patients whose gradient is not finite."""
        with self._hooks.forward_pass(len(patients)):
            losses = _losses(loss_of, patients)
        with quiet():
            torch.autograd.grad(losses.sum(), self._hooks.starts, retain_graph=True)
        norms = self._hooks.take(self.parameters)
        counted = norms.isfinite()
        if counted.all():
            gradient = self._scaled(clip_factors(norms, max_grad_norm) * losses)
        elif counted.any():  # 0 times NaN is NaN: they must not be in the second pass at all
            gradient = self.clip(loss_of, patients[counted.cpu().numpy()], max_grad_norm).gradient
        else:
            gradient = zeros(self.parameters)
        return Clipped(gradient=gradient, norms=norms, losses=losses.detach())

    def _scaled(self, losses: Float[Tensor, " patient"]) -> dict[str, Tensor]:
        self._hooks.disable_hooks()
        try:
            with quiet():
                gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        finally:
            self._hooks.enable_hooks()
        return dict(zip(self.parameters, gradients, strict=True))


@contextmanager
def clipping(network: nn.Module, way: Callable[[nn.Module], Clipper]) -> Iterator[Clipper]:
    """A network with hooks; without them again afterwards, whatever happens."""
    clipper = way(network)
    try:
        yield clipper
    finally:
        clipper.release()


def clipped_sum(
    clipper: Clipper,
    loss_of: LossOf,
    patients: NDArray[np.int64],
    *,
    max_grad_norm: float,
    at_once: int,
) -> Clipped:
    """The sum over any number of patients, in virtual batches, so that memory does not grow with their number.

    Args:
        clipper: the way.
        loss_of: one loss per patient.
        patients: numbers that ``loss_of`` understands; may be none.
        max_grad_norm: length of a patient's part, at most (C).
        at_once: patients of a virtual batch.
    """
    total = zeros(clipper.parameters)
    norms, losses = [torch.empty(0)], [torch.empty(0)]
    for start in range(0, len(patients), at_once):
        part = clipper.clip(loss_of, patients[start : start + at_once], max_grad_norm)
        for name, gradient in part.gradient.items():
            total[name] += gradient
        norms.append(part.norms.cpu())
        losses.append(part.losses.cpu())
    return Clipped(gradient=total, norms=torch.cat(norms), losses=torch.cat(losses))


def clip_factors(
    norms: Float[Tensor, " patient"], max_grad_norm: float
) -> Float[Tensor, " patient"]:
    """What scales each gradient to at most the bound; 0 where the norm is not finite."""
    factors = (max_grad_norm / norms).clamp(max=1.0)  # a norm of 0 divides to infinity, and so to 1
    return torch.where(norms.isfinite(), factors, torch.zeros_like(factors))


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that may move, by name."""
    return {name: part for name, part in network.named_parameters() if part.requires_grad}


def zeros(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """What nobody adds."""
    return {name: torch.zeros_like(part, requires_grad=False) for name, part in parameters.items()}


def _losses(loss_of: LossOf, patients: NDArray[np.int64]) -> Tensor:
    losses = loss_of(patients)
    if losses.shape != (len(patients),):
        raise ValueError(f"{len(patients)} patients have losses of shape {tuple(losses.shape)}")
    return losses

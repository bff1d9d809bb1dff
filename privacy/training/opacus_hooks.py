"""Opacus, imported so that it changes nothing for others, and held to what the clipping needs of it.

Opacus (https://opacus.ai) looks at the input and the output gradient of every trained layer and knows what each
patient added to the layer's gradient. Here its two kinds of hooks get the same three rules: the first axis of an
input is the patient, a layer is called once, and a forward pass that will be computed again is not remembered.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from privacy.training.checks import NotPrivate
from privacy.training.linear_norms import linear_norms


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Opacus' warnings off, and its handlers out of the root logger."""
    handlers = list(logging.getLogger().handlers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger().handlers = handlers


with quiet():
    from opacus.grad_sample.grad_sample_module import GradSampleHooks
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
        GradSampleHooksFastGradientClipping,
    )

MAX_GHOST_AXES = 3
"""Patient, token, value: what Opacus' norms were made for; beyond it they may be those of another step."""


class Rules:
    """What is asked of every call of a trained layer; comes before one of Opacus' classes."""

    max_axes: int | None = None
    hooks_enabled: bool

    def __init__(self, network: nn.Module) -> None:
        with quiet():
            super().__init__(network, loss_reduction="sum")  # type: ignore[call-arg]
        self._num_patients = 0
        self._called: set[int] = set()
        self._starts: list[nn.Parameter] = []
        self._in_forward = self._passes_twice = False

    @contextmanager
    def forward_pass(self, num_patients: int) -> Iterator[None]:
        """Around the computation of the losses of so many patients."""
        self._num_patients, self._in_forward = num_patients, True
        self._called.clear()
        self._starts.clear()
        try:
            yield
        finally:
            self._in_forward = False

    @contextmanager
    def first_of_two_passes(self) -> Iterator[None]:
        """Around what will be computed again for the gradients (activation checkpointing)."""
        self._passes_twice = True
        try:
            yield
        finally:
            self._passes_twice = False

    @property
    def starts(self) -> list[nn.Parameter]:
        """Parameters of the layers that no other trained layer comes before.

        Gradients of these pass every layer, and spare the gradients of all others, which nobody needs.
        """
        return self._starts

    def capture_activations_hook(
        self, module: nn.Module, forward_input: tuple[Tensor, ...], forward_output: Tensor
    ) -> None:
        """Called by torch after every call of a trained layer."""
        if not (self.hooks_enabled and torch.is_grad_enabled()):
            return
        if self._in_forward:
            self._check(module, forward_input[0])
        if not self._passes_twice:
            with quiet():
                super().capture_activations_hook(  # type: ignore[misc]
                    module, forward_input, forward_output
                )

    def _check(self, module: nn.Module, given: Tensor) -> None:
        if id(module) in self._called:
            raise NotPrivate(
                "a trained layer is called twice in one pass: shared layers hide what a patient adds"
            )
        if given.dim() < 2 or len(given) != self._num_patients:
            raise NotPrivate("the first axis of a trained layer's input is not the patient")
        if self.max_axes is not None and given.dim() > self.max_axes:
            raise NotPrivate(
                f"a trained layer's input has {given.dim()} axes: norms without gradients know at most {self.max_axes}"
            )
        self._called.add(id(module))
        if not given.requires_grad:
            self._starts.extend(p for p in module.parameters(recurse=False) if p.requires_grad)

    def release(self) -> None:
        """Take all hooks and everything they remember off the network."""
        network: nn.Module = self._module  # type: ignore[attr-defined]
        with quiet():
            self.cleanup()  # type: ignore[attr-defined]
        for module in network.modules():
            for left in ("activations", "max_batch_len"):
                if left in module.__dict__:
                    delattr(module, left)


class GradientHooks(Rules, GradSampleHooks):  # type: ignore[misc]  # Opacus' class has no type
    """Leaves every patient's gradient in ``grad_sample`` of each parameter."""

    def take(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """(patient, *shape) of every parameter, which are forgotten here.

        Raises:
            NotPrivate: a layer took no part.
        """
        return {
            name: _taken(parameter, "grad_sample", name) for name, parameter in parameters.items()
        }


class NormHooks(Rules, GradSampleHooksFastGradientClipping):  # type: ignore[misc]  # Opacus' class has no type
    """Leaves the norm of every patient's gradient in ``_norm_sample`` of each parameter."""

    max_axes = MAX_GHOST_AXES
    NORM_SAMPLERS = GradSampleHooksFastGradientClipping.NORM_SAMPLERS | {nn.Linear: linear_norms}

    def take(self, parameters: Mapping[str, nn.Parameter]) -> Tensor:
        """(patient,), over all parameters, which are forgotten here: Opacus would show them again next time.

        Raises:
            NotPrivate: a layer took no part.
        """
        norms = [_taken(parameter, "_norm_sample", name) for name, parameter in parameters.items()]
        together: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        return together


def _taken(parameter: nn.Parameter, attribute: str, name: str) -> Tensor:
    value = getattr(parameter, attribute, None)
    if not isinstance(value, Tensor):
        raise NotPrivate(
            f"{name} trains and took no part in the loss: what a patient adds to it is unknown"
        )
    setattr(parameter, attribute, None)
    return value

"""At the start: do the hooks on this very network, with these versions of everything, see what each patient adds?

A loop that shows the network one made-up patient at a time knows the truth. Where the two differ, a layer mixes
patients, or a library has changed its mind about what hooks see, and clipping would bound the wrong thing.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from privacy.training.checks import NotPrivate
from privacy.training.gradients import Clipped, Clipper, LossOf, clip_factors, clipping, trainable

TOLERANCE = 1e-4
"""Of the length of the sum; rounding in float32 stays a factor of 10 below it."""
NUM_PATIENTS = 3
OPENED = 0.02
"""Spread of the numbers that stand in for tensors of zeros, through which no gradient comes."""

logger = logging.getLogger(__name__)


def self_test(network: nn.Module, way: Callable[[nn.Module], Clipper], loss_of: LossOf) -> float:
    """Compare clipped sums with a loop.

    Args:
        network: as it will train; it is as before afterwards.
        way: of clipping.
        loss_of: of made-up patients 0 to NUM_PATIENTS - 1; the same patient has the same loss every time.

    Returns:
        The error found, relative; at most TOLERANCE.

    Raises:
        NotPrivate: it is larger.
    """
    patients = np.arange(NUM_PATIENTS)
    with opened(network):
        truth = [_alone(network, loss_of, patients[[number]]) for number in patients]
        norms = torch.stack([_norm(gradient) for gradient in truth])
        bound = float(norms.median())  # some are clipped, and some are not
        with clipping(network, way) as clipper:
            found = clipper.clip(loss_of, patients, bound)
    error = _error(found, _clipped(truth, norms, bound))
    if not error <= TOLERANCE:
        raise NotPrivate(
            f"in the self-test at the start the clipped sum differs from a loop over patients by {error:.1e} of its "
            f"length, and {TOLERANCE:.0e} is allowed: a layer mixes patients, or the installed versions do not fit"
        )
    logger.info("self-test of private gradients passed: error=%.1e", error)
    return error


@contextmanager
def opened(network: nn.Module) -> Iterator[None]:
    """Give tensors of zeros some other numbers for a while; a fresh adapter or gate hides what lies behind it."""
    generator = torch.Generator().manual_seed(1)
    silent = [part for part in network.parameters() if not part.detach().any()]
    with torch.no_grad():
        for part in silent:
            part.copy_(OPENED * torch.randn(part.shape, generator=generator))
    try:
        yield
    finally:
        with torch.no_grad():
            for part in silent:
                part.zero_()


def _alone(network: nn.Module, loss_of: LossOf, patient: np.ndarray) -> dict[str, Tensor]:
    """The gradient of one patient, as torch alone computes it."""
    parameters = trainable(network)
    gradients = torch.autograd.grad(
        loss_of(patient).sum(), list(parameters.values()), materialize_grads=True
    )
    return dict(zip(parameters, gradients, strict=True))


def _clipped(
    gradients: list[dict[str, Tensor]], norms: Float[Tensor, " patient"], bound: float
) -> Clipped:
    factors = clip_factors(norms, bound)
    summed = {
        name: sum(
            (factor * each[name] for factor, each in zip(factors, gradients, strict=True)),
            start=torch.zeros_like(first),
        )
        for name, first in gradients[0].items()
    }
    return Clipped(gradient=summed, norms=norms, losses=torch.zeros_like(norms))


def _error(found: Clipped, truth: Clipped) -> float:
    """The larger of the errors of sum and norms; not a number if one of them is none."""
    difference = {name: found.gradient[name] - each for name, each in truth.gradient.items()}
    length = _norm(truth.gradient)
    if length == 0:  # the loss depends on nothing that trains
        return float("nan")
    of_norms = (found.norms - truth.norms).abs() / truth.norms
    return float(torch.cat([(_norm(difference) / length)[None], of_norms]).max())


def _norm(gradient: dict[str, Tensor]) -> Float[Tensor, ""]:
    parts = torch.stack([each.norm() for each in gradient.values()])
    length: Tensor = torch.linalg.vector_norm(parts)
    return length

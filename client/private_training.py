"""Local training that keeps every patient's part below the noise: the private counterpart of ``client.training``.

What leaves is the change after a fixed number of noised steps, and the loss if the study pays for it. Which
patients, radiographs, attributes and noise a step sees is decided by the operating system's randomness; no seed of a
study plays a part, so two runs differ, and nobody can take the noise off.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from client.heap import keep_freed_memory
from client.made_up_patients import MadeUpLoss
from client.optimizer import make_optimizer, save_optimizer
from client.patient_batches import PatientLoss, training_patients
from client.proximal import add_proximal
from client.training import LocalResult, freeze_all_but
from client.training_records import TrainingRecords
from federation.privacy_terms import PrivacyTerms
from federation.stages import LocalTraining
from model.adapter import adapter_parameters
from model.arrays import Arrays
from model.transformer import RectifiedFlowTransformer
from privacy.training.checks import NotPrivate, check_network, check_optimizer, check_precision
from privacy.training.entropy import Entropy, SystemEntropy
from privacy.training.gradients import Clipper, Ghost, Materialised, clipping
from privacy.training.mechanism import LossRelease, Mechanism, require_private
from privacy.training.self_test import self_test
from privacy.training.step import NoisedLoss, mean_loss, private_step

IMAGES_AT_ONCE = 8
"""Noised radiographs whose gradients are in memory at a time, if one patient has no more."""


def train_privately(
    network: nn.Module,
    trained: frozenset[str],
    records: TrainingRecords,
    local: LocalTraining,
    *,
    optimizer_state: Arrays,
    num_threads: int = 1,
    entropy: Entropy | None = None,
) -> LocalResult:
    """Run ``local_steps`` private steps; the ledger must have been charged with them before.

    Args:
        network: Starts from the received weights; holds the trained ones afterwards. Trains where it lies.
        trained: Names of the tensors that may move; all others are frozen.
        records: The hospital's cache, as the network sees it; only its training part is used.
        local: With ``privacy``; ``batch_size`` divides every step's sum.
        optimizer_state: As returned by the round before; empty to start afresh.
        num_threads: CPU threads.
        entropy: The operating system's unless a test passes another.

    Returns:
        With the noised loss, or NaN if none leaves. ``seconds`` tells how many patients were drawn and must not leave.

    Raises:
        NotPrivate: the promise could not be kept; no patient was looked at.
    """
    torch.set_num_threads(num_threads)
    keep_freed_memory()
    started = time.monotonic()
    mechanism = mechanism_of(local)
    parameters = freeze_all_but(network, trained)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = make_optimizer(parameters, local, optimizer_state)
    check_everything(network, optimizer, mechanism, local)
    draw_back(optimizer, parameters, before, local.proximal)
    loss = run_private_steps(
        network, optimizer, records, local, mechanism=mechanism, entropy=entropy or SystemEntropy()
    )
    return LocalResult(
        change={
            name: (parameters[name].detach() - old).cpu().numpy() for name, old in before.items()
        },
        optimizer_state={**optimizer_state, **save_optimizer(parameters, optimizer)},
        loss=loss,
        seconds=time.monotonic() - started,
    )


def draw_back(
    optimizer: torch.optim.Optimizer,
    parameters: dict[str, nn.Parameter],
    received: dict[str, torch.Tensor],
    weight: float,
) -> None:
    """Have every move drawn back to the received weights, right before it is made.

    The gradients are clipped and noised by then. The received weights are no secret of this hospital, so that what is
    added follows from noised numbers alone.
    """
    optimizer.register_step_pre_hook(lambda *_: add_proximal(parameters, received, weight))


def mechanism_of(local: LocalTraining) -> Mechanism:
    """The public constants of a step."""
    terms = terms_of(local)
    loss = None
    if terms.loss_noise_multiplier is not None:
        loss = LossRelease(noise_multiplier=terms.loss_noise_multiplier, max_loss=terms.max_loss)
    return Mechanism(
        noise_multiplier=terms.noise_multiplier,
        sample_rate=terms.sample_rate,
        max_grad_norm=terms.max_grad_norm,
        batch_size=local.batch_size,
        loss=loss,
    )


def terms_of(local: LocalTraining) -> PrivacyTerms:
    """The study's terms.

    Raises:
        NotPrivate: it has none.
    """
    if local.privacy is None:
        raise NotPrivate("the study names no terms of privacy (local.privacy)")
    return local.privacy


def check_everything(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    mechanism: Mechanism,
    local: LocalTraining,
) -> None:
    """Refuse what cannot be private, and a machine on which the hooks see something else than a loop.

    Raises:
        NotPrivate: with the reason.
    """
    require_private(mechanism)
    check_precision(local.precision)
    check_network(network)
    check_optimizer(optimizer, network)
    network.train()
    with plain_passes_afterwards(network):
        (transformer,) = transformers(network)
        made_up = MadeUpLoss(network=network, transformer=transformer, num_places=num_places(local))
        self_test(network, clipper_on, made_up)


def run_private_steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    records: TrainingRecords,
    local: LocalTraining,
    *,
    mechanism: Mechanism,
    entropy: Entropy,
) -> float:
    """All steps of a round; their noised loss, NaN if none leaves."""
    network.train()
    groups = training_patients(records)
    loss_of = PatientLoss(
        network=network,
        records=records,
        groups=groups,
        local=local,
        max_images=terms_of(local).max_images,
        entropy=entropy,
    )
    losses: list[NoisedLoss] = []
    with plain_passes_afterwards(network), clipping(network, clipper_on) as clipper:
        for _ in range(local.local_steps):
            loss = private_step(
                clipper,
                optimizer,
                loss_of,
                mechanism,
                num_patients=len(groups),
                at_once=max(1, IMAGES_AT_ONCE // num_places(local)),
                entropy=entropy,
            )
            losses += [loss] if loss else []
    return mean_loss(losses)


def clipper_on(network: nn.Module) -> Clipper:
    """The way that costs less: gradients of patients for an adapter, their norms for a whole network."""
    clipper = Materialised(network) if adapter_parameters(network) else Ghost(network)
    for transformer in transformers(network):
        transformer.first_pass = clipper.first_of_two_passes
    return clipper


@contextmanager
def plain_passes_afterwards(network: nn.Module) -> Iterator[None]:
    """Let the network forget a clipper that is no longer there."""
    try:
        yield
    finally:
        for transformer in transformers(network):
            transformer.first_pass = nullcontext


def num_places(local: LocalTraining) -> int:
    """Noised radiographs of one patient in a step."""
    return terms_of(local).max_images * local.num_draws


def transformers(network: nn.Module) -> list[RectifiedFlowTransformer]:
    """The one network within whatever is attached to it."""
    return [part for part in network.modules() if isinstance(part, RectifiedFlowTransformer)]

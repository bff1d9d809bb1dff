"""Local training: a fixed number of optimizer steps on one hospital's records, and what they changed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from client.batches import WHOLE, Batch, Share, batches
from client.device import autocast, device_of
from client.heap import keep_freed_memory
from client.losses import draws_of, record_losses
from client.optimizer import make_optimizer, save_optimizer
from client.proximal import add_proximal
from client.training_records import TrainingRecords
from federation.stages import LocalTraining
from model.adapter import adapter_parameters
from model.arrays import Arrays
from model.tokens import drop_attributes

Pull = Callable[[], None]
"""Adds to the gradients what draws the trained tensors back to the received ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalResult:
    """What local training leaves behind."""

    change: Arrays
    """Trained tensors after minus before, fp32."""
    optimizer_state: Arrays
    """Of the tensors that trained, and as received of those that rested."""
    loss: float
    """Mean over the steps."""
    seconds: float


def stay_free() -> None:
    """Draw nothing back."""


def train_locally(
    network: nn.Module,
    trained: frozenset[str],
    records: TrainingRecords,
    local: LocalTraining,
    *,
    seed: int,
    optimizer_state: Arrays,
    num_threads: int = 1,
) -> LocalResult:
    """Run ``local_steps`` steps. The same arguments give the same bits on the same machine.

    Args:
        network: Starts from the received weights; holds the trained ones afterwards. Trains where it lies.
        trained: Names of the tensors that may move; all others are frozen.
        records: The hospital's cache, as the network sees it; only its training part is used.
        local: Optimizer, batch, number of steps.
        seed: Of batches, noise draws and hidden attributes.
        optimizer_state: As returned by the round before; empty to start afresh.
        num_threads: CPU threads; part of what fixes the bits.
    """
    torch.set_num_threads(num_threads)
    keep_freed_memory()
    started = time.monotonic()
    parameters = freeze_all_but(network, trained)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = make_optimizer(parameters, local, optimizer_state)
    pull = partial(add_proximal, parameters, before, local.proximal)
    loss = run_steps(network, optimizer, records, local, seed=seed, pull=pull)
    return LocalResult(
        change={
            name: (parameters[name].detach() - old).cpu().numpy() for name, old in before.items()
        },
        optimizer_state={**optimizer_state, **save_optimizer(parameters, optimizer)},
        loss=loss,
        seconds=time.monotonic() - started,
    )


def run_steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    records: TrainingRecords,
    local: LocalTraining,
    *,
    seed: int,
    pull: Pull = stay_free,
    share: Share = WHOLE,
) -> float:
    """All steps of a round; their mean loss, or a share's part of it."""
    generator = torch.Generator().manual_seed(seed)
    network.train()
    losses = [
        step(network, optimizer, batch, local, generator, pull=pull)
        for batch in batches(records, local, np.random.default_rng(seed), share)
    ]
    return float(np.mean(losses))


def step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    local: LocalTraining,
    generator: torch.Generator,
    *,
    pull: Pull = stay_free,
) -> float:
    """One optimizer step on one batch; the batch's mean loss before it, or a share's part of that.

    Whatever holds the processes together averages the gradients of their shares, hence the factor.
    """
    hidden = drop_attributes(
        batch.whole_condition(), p_each=local.drop_each, p_all=local.drop_all, generator=generator
    )
    draws = draws_of(batch, local.num_draws, generator)
    with autocast(local.precision, device_of(network)):
        losses = record_losses(network, batch.image, hidden[batch.part], draws)
        loss = losses.sum() / batch.num_records
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss * batch.share.of)
    pull()
    nn.utils.clip_grad_norm_(
        [parameter for group in optimizer.param_groups for parameter in group["params"]],
        local.max_grad_norm,
    )
    optimizer.step()
    return float(loss.detach())


def freeze_all_but(network: nn.Module, trained: frozenset[str]) -> dict[str, nn.Parameter]:
    """Let exactly the named tensors train; their parameters, in order of name."""
    parameters = adapter_parameters(network) or dict(network.named_parameters())
    for parameter in network.parameters():
        parameter.requires_grad = False
    for name in sorted(trained):
        parameters[name].requires_grad = True
    return {name: parameters[name] for name in sorted(trained)}

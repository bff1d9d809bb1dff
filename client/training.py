"""Local training: a fixed number of optimizer steps on one hospital's records, and what they changed."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.cache.records import Records
from federation.config import LocalTraining
from model.adapter import adapter_parameters
from model.arrays import Arrays
from model.flow import Draws, draw_noise, flow_loss
from model.tokens import drop_attributes

NUM_HELD_OUT = 64
"""Held-out records that one loss is measured on, at most."""
HELD_OUT_DRAWS = 4


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


def train_locally(
    network: nn.Module,
    trained: frozenset[str],
    records: Records,
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
        records: The hospital's cache; only its training part is used.
        local: Optimizer, batch, number of steps.
        seed: Of batches, noise draws and hidden attributes.
        optimizer_state: As returned by the round before; empty to start afresh.
        num_threads: CPU threads; part of what fixes the bits.
    """
    torch.set_num_threads(num_threads)
    started = time.monotonic()
    parameters = freeze_all_but(network, trained)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = make_optimizer(parameters, local, optimizer_state)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    losses = [
        step(network, optimizer, batch, local, generator)
        for batch in batches(records, local, np.random.default_rng(seed))
    ]
    return LocalResult(
        change={
            name: (parameters[name].detach() - old).cpu().numpy() for name, old in before.items()
        },
        optimizer_state={**optimizer_state, **save_optimizer(parameters, optimizer)},
        loss=float(np.mean(losses)),
        seconds=time.monotonic() - started,
    )


def step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    local: LocalTraining,
    generator: torch.Generator,
) -> float:
    """One optimizer step on one batch; the batch's mean loss before it."""
    image, condition = batch
    hidden = drop_attributes(
        condition, p_each=local.drop_each, p_all=local.drop_all, generator=generator
    )
    draws = draw_noise(tuple(image.shape), local.num_draws, image.shape[-1], generator)
    with autocast(local.precision, device_of(network)):
        loss = record_losses(network, image, hidden, draws).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(
        [parameter for group in optimizer.param_groups for parameter in group["params"]],
        local.max_grad_norm,
    )
    optimizer.step()
    return float(loss.detach())


def batches(
    records: Records, local: LocalTraining, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the training part: patients with equal chance, then one of the patient's radiographs."""
    groups = patient_groups(records)
    for _ in range(local.local_steps):
        patients = rng.integers(len(groups), size=local.batch_size)
        yield records.batch(np.array([rng.choice(groups[patient]) for patient in patients]))


def patient_groups(records: Records) -> list[NDArray[np.int64]]:
    """Indices of the training records of each patient, in the order of the opaque patient keys."""
    training = np.flatnonzero(~records.held_out)
    keys = records.patients[training]
    order = np.argsort(keys, kind="stable")
    _, first = np.unique(keys[order], return_index=True)
    return np.split(training[order], first[1:])


def held_out_loss(network: nn.Module, records: Records, *, seed: int) -> float:
    """Loss on the held-out records with fixed draws; NaN if there are none."""
    indices = np.flatnonzero(records.held_out)[:NUM_HELD_OUT]
    if len(indices) == 0:
        return float("nan")
    return mean_loss(network, records.batch(indices), seed=seed)


@torch.no_grad()
def mean_loss(network: nn.Module, batch: tuple[Tensor, Tensor], *, seed: int) -> float:
    """Loss of a batch with nothing hidden; the seed fixes noise levels and noise, so that networks compare."""
    image, condition = batch
    generator = torch.Generator().manual_seed(seed)
    draws = draw_noise(tuple(image.shape), HELD_OUT_DRAWS, image.shape[-1], generator)
    network.eval()
    return float(record_losses(network, image, condition, draws).mean())


def record_losses(network: nn.Module, image: Tensor, condition: Tensor, draws: Draws) -> Tensor:
    """Loss of each record, on the network's device; randomness is drawn on the CPU, the same for every device."""
    device = device_of(network)
    moved = Draws(t=draws.t.to(device), noise=draws.noise.to(device))
    return flow_loss(network, image.to(device), condition.to(device), moved)


def freeze_all_but(network: nn.Module, trained: frozenset[str]) -> dict[str, nn.Parameter]:
    """Let exactly the named tensors train; their parameters, in order of name."""
    parameters = adapter_parameters(network) or dict(network.named_parameters())
    for parameter in network.parameters():
        parameter.requires_grad = False
    for name in sorted(trained):
        parameters[name].requires_grad = True
    return {name: parameters[name] for name in sorted(trained)}


def make_optimizer(
    parameters: dict[str, nn.Parameter], local: LocalTraining, state: Arrays
) -> torch.optim.Optimizer:
    """The optimizer over the trained tensors, with the state it had after an earlier round."""
    if local.optimizer == "sgd":
        return torch.optim.SGD(
            parameters.values(), lr=local.learning_rate, weight_decay=local.weight_decay
        )
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=local.learning_rate,
        betas=(local.beta1, local.beta2),
        weight_decay=local.weight_decay,
    )
    for name, parameter in parameters.items():
        if f"exp_avg|{name}" in state:
            optimizer.state[parameter] = {
                key: torch.from_numpy(np.array(state[f"{key}|{name}"])).to(
                    parameter.device if key != "step" else "cpu"
                )
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    return optimizer


def save_optimizer(
    parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, NDArray[np.float32]]:
    """The optimizer's state as named tensors; empty for one without state."""
    return {
        f"{key}|{name}": value.detach().cpu().numpy()
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def best_device() -> torch.device:
    """The hospital's GPU if it has one that works, otherwise its processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(network: nn.Module) -> torch.device:
    """Where the network's parameters lie; the processor for one that has none."""
    devices = (parameter.device for parameter in network.parameters())
    return next(devices, torch.device("cpu"))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Network arithmetic in bf16 where the device has it; fp32 otherwise."""
    if precision == "bf16" and has_bf16(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 numbers natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  torch has no public name

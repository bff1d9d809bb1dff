"""What privacy costs: a private step of an adapter against a plain one and against stock Opacus, in one run.

`python bench/dp.py small 256 8 3` lets the three take turns, three times each, at a logical batch of 8 patients with
one radiograph of 256 pixels; run with OMP_NUM_THREADS=1. Time is processor seconds. Memory is measured in a fresh
process for each, as the most it ever held above what it held before its first step. `full` as a fifth word trains
the whole network instead. Stock Opacus is `PrivacyEngine.make_private` as its tutorials use it, on the same network.
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from rates import interleaved
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset

from client.batches import whole_batch
from client.heap import keep_freed_memory
from client.losses import record_losses
from client.optimizer import make_optimizer
from client.patient_batches import PatientLoss, training_patients
from client.private_training import clipper_on, mechanism_of, num_places
from client.training import freeze_all_but, step
from federation.privacy_terms import PrivacyTerms
from federation.stages import LocalTraining
from model.adapter import adapter_parameters, attach
from model.conditioning import Schema
from model.config import AdapterConfig, model_config, noise_size
from model.flow import draw_noise
from model.initial import initial_network
from privacy.training.entropy import SystemEntropy
from privacy.training.step import private_step

ADAPTER = AdapterConfig(rank=16, alpha=16.0)
TIME_BAR, MEMORY_BAR = 2.0, 1.5
"""What a private step may take of an adapter's plain step."""
AT_ONCE = 8
"""Patients of a virtual batch, as a hospital has them."""
PROFILED = 12
"""Operations that are shown of a private step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is trained on."""

    size: str
    image_size: int
    num_patients: int
    full: bool

    @property
    def local(self) -> LocalTraining:
        """Every patient is drawn, so that the logical batch is the same for all."""
        terms = PrivacyTerms(noise_multiplier=1.0, sample_rate=1.0, max_grad_norm=1.0)
        return LocalTraining(
            local_steps=1, batch_size=self.num_patients, learning_rate=1e-4, privacy=terms
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RandomRecords:
    """One radiograph of noise per patient, in memory."""

    image: Tensor
    condition: Tensor

    @property
    def patients(self) -> NDArray[np.uint64]:
        """Everyone another."""
        return np.arange(len(self), dtype=np.uint64)

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Nobody."""
        return np.zeros(len(self), np.bool_)

    def __len__(self) -> int:
        return len(self.image)

    def batch(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Some of them."""
        return self.image[indices], self.condition[indices]


def records_of(case: Case) -> RandomRecords:
    """The patients."""
    image = torch.rand(case.num_patients, 1, case.image_size, case.image_size) * 2 - 1
    return RandomRecords(image=image, condition=torch.ones(case.num_patients, len(Schema().names)))


def network_of(case: Case) -> nn.Module:
    """With an adapter, or the whole of it trains."""
    network = initial_network(model_config(case.size, case.image_size), Schema(), 1)
    adapted = network if case.full else attach(network, ADAPTER, torch.Generator())
    freeze_all_but(
        adapted, frozenset(adapter_parameters(adapted) or dict(adapted.named_parameters()))
    )
    return adapted.train()


def optimizer_of(network: nn.Module, case: Case) -> torch.optim.Optimizer:
    """AdamW over what trains."""
    trained = {name: part for name, part in network.named_parameters() if part.requires_grad}
    return make_optimizer(trained, case.local, {})


def plain(case: Case) -> Callable[[], object]:
    """A step as a hospital without privacy makes it, all records at once."""
    network, records = network_of(case), records_of(case)
    optimizer, generator = optimizer_of(network, case), torch.Generator().manual_seed(1)
    batch = whole_batch(records.batch(np.arange(case.num_patients)))
    return lambda: step(network, optimizer, batch, case.local, generator)


def private(case: Case) -> Callable[[], object]:
    """A step as a hospital with privacy makes it, in virtual batches."""
    network, records, entropy = network_of(case), records_of(case), SystemEntropy()
    optimizer, clipper = optimizer_of(network, case), clipper_on(network)
    loss_of = PatientLoss(
        network=network,
        records=records,
        groups=training_patients(records),
        local=case.local,
        max_images=1,
        entropy=entropy,
    )
    return lambda: private_step(
        clipper,
        optimizer,
        loss_of,
        mechanism_of(case.local),
        num_patients=case.num_patients,
        at_once=max(1, AT_ONCE // num_places(case.local)),
        entropy=entropy,
    )


def opacus(case: Case) -> Callable[[], object]:
    """A step of stock Opacus, in its usual mode, all records at once."""
    network, records = network_of(case), records_of(case)
    loader = DataLoader(TensorDataset(records.image, records.condition), case.num_patients)
    wrapped, optimizer, _ = PrivacyEngine().make_private(
        module=network,
        optimizer=optimizer_of(network, case),
        data_loader=loader,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        poisson_sampling=False,
    )
    generator = torch.Generator().manual_seed(1)
    size = noise_size(1, case.image_size)

    def run() -> None:
        draws = draw_noise(tuple(records.image.shape), 1, size, generator)
        optimizer.zero_grad()
        torch.autograd.backward(
            record_losses(wrapped, records.image, records.condition, draws).mean()
        )
        optimizer.step()

    return run


KINDS = {"plain": plain, "private": private, "stock Opacus": opacus}


def held_bytes(which: str) -> int:
    """Memory of this process as Linux counts it: VmRSS now, VmHWM the most since it was last forgotten."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(which))
    return int(line.split()[1]) * 1024


def child(case: Case, kind: str) -> None:
    """Print what two steps of one kind need, for the parent to read."""
    action = KINDS[kind](case)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the most so far
    before = held_bytes("VmRSS")
    action()
    action()
    print(json.dumps({"before": before, "after": held_bytes("VmHWM")}))


def needed_bytes(words: list[str], kind: str) -> int:
    """Memory that steps of one kind add, measured in a process of its own."""
    run = subprocess.run(
        [sys.executable, __file__, *words, "--child", kind],
        check=True,
        capture_output=True,
        text=True,
    )
    read = json.loads(run.stdout.splitlines()[-1])
    return int(read["after"] - read["before"])


def explain(action: Callable[[], object]) -> None:
    """Print where the time of a private step goes."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        action()
    events = sorted(record.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    print(
        "  private step: "
        + ", ".join(
            f"{event.key} {event.self_cpu_time_total / whole:.0%}" for event in events[:PROFILED]
        )
    )


def main(case: Case, repeats: int, words: list[str]) -> None:
    """Measure and compare."""
    actions = {kind: build(case) for kind, build in KINDS.items()}
    seconds = interleaved(actions, repeats)
    explain(actions["private"])
    del actions
    needed = {kind: needed_bytes(words, kind) for kind in KINDS}
    print(
        f"{case.size} at {case.image_size} px, {case.num_patients} patients, "
        + ("all parameters" if case.full else f"adapter of rank {ADAPTER.rank}")
    )
    for kind in KINDS:
        time, memory = (of[kind] / of["plain"] for of in (seconds, needed))
        print(
            f"  {kind}: {seconds[kind]:.2f} s ({time:.2f}x), "
            f"{needed[kind] / 1e6:.0f} MB ({memory:.2f}x)",
            flush=True,
        )
    time, memory = (of["private"] / of["plain"] for of in (seconds, needed))
    reached = time <= TIME_BAR and memory <= MEMORY_BAR
    print(f"  bars {TIME_BAR}x and {MEMORY_BAR}x: " + ("reached" if reached else "missed"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")  # what stock Opacus has to say
    size, side, count, times, *rest = sys.argv[1:]
    chosen = Case(size=size, image_size=int(side), num_patients=int(count), full="full" in rest)
    if "--child" in rest:
        child(chosen, rest[-1])
    else:
        main(chosen, int(times), sys.argv[1:])

"""Training of a student: from its teacher's weights, on the teacher's own ways, to one step for each piece."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from model.distillation.pieces import Crossings, landing_error
from model.sampler import time_grid

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises; in the others it falls, both along a line."""

EMA_SHARE = 0.02
"""Share of all steps that the average of the weights remembers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentTraining:
    """How long a student learns, and how fast."""

    num_pieces: int
    """Sampling steps that it learns."""

    num_steps: int
    """Optimizer steps."""

    learning_rate: float = 5e-4
    """At its highest."""

    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("num_pieces", "num_steps", "learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be above 0")


def train_student(
    teacher: nn.Module,
    crossings: Iterator[Crossings],
    training: StudentTraining,
    *,
    noise_size: int,
    on_step: Callable[[int, float], None],
) -> nn.Module:
    """A copy of the teacher that draws in ``num_pieces`` steps; its weights are a running average.

    Args:
        teacher: where the student begins; is not changed.
        crossings: one batch a step, on the teacher's device.
        training: how long and how fast.
        noise_size: ``ModelConfig.noise_size``, which places the pieces.
        on_step: takes the number of finished steps and the loss of the last.
    """
    student, average = copy.deepcopy(teacher).train(), copy.deepcopy(teacher).eval()
    parameters = list(student.requires_grad_(requires_grad=True).parameters())
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)
    levels = torch.tensor(time_grid(training.num_pieces, noise_size), device=parameters[0].device)
    for number in range(training.num_steps):
        _set_rate(optimizer, training, number)
        loss = landing_error(student, next(crossings), levels).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
        optimizer.step()
        _move_average(average, student, weight=_weight(number, training.num_steps))
        on_step(number + 1, float(loss.detach()))
    return average


def _set_rate(optimizer: torch.optim.Optimizer, training: StudentTraining, number: int) -> None:
    """Up along a line, then down along another, to nothing."""
    done = (number + 1) / training.num_steps
    height = min(done / WARM_UP, (1 - number / training.num_steps))
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * height


def _weight(number: int, num_steps: int) -> float:
    """How much of the average the newest weights make up; 1 at first, so that it begins with them."""
    return max(1 / (number + 1), 1 / max(1.0, EMA_SHARE * num_steps))


@torch.no_grad()
def _move_average(average: nn.Module, student: nn.Module, *, weight: float) -> None:
    for old, new in zip(average.parameters(), student.parameters(), strict=True):
        old.lerp_(new, weight)

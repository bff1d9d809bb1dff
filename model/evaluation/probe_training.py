"""How a probe learns: batches, small movements, and a loss in which rare values and missing ones are fair."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss

from model.evaluation.probe_network import ProbeNetwork
from model.evaluation.questions import UNKNOWN, Question

BATCH_SIZE = 32
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02
MAX_SHIFT = 0.05
"""Of the side; how far training moves a picture."""
CONTRAST_SPREAD = 0.1
MAX_WEIGHT = 20.0
"""Of a rare value in the loss, against one of mean frequency."""


def train(
    network: ProbeNetwork,
    evened: Float[Tensor, "record 1 height width"],
    targets: Float[Tensor, "record target"],
    questions: tuple[Question, ...],
    *,
    num_steps: int,
    generator: torch.Generator,
) -> None:
    """AdamW with one rise and fall of the learning rate; the network changes in place.

    Args:
        network: fresh.
        evened: what it reads.
        targets: scaled age or NaN, then the class per question or UNKNOWN.
        questions: in the order of the network's outputs, after the one for age.
        num_steps: of 32 records each.
        generator: of batches and movements.
    """
    network.train()
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=num_steps + 1
    )
    for places in _batches(len(evened), num_steps, generator):
        outputs = network(_moved(evened[places], generator))
        gradients = torch.autograd.grad(loss(outputs, targets[places], questions), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        schedule.step()


def loss(
    outputs: Float[Tensor, "batch output"],
    targets: Float[Tensor, "batch target"],
    questions: tuple[Question, ...],
) -> Float[Tensor, ""]:
    """Mean over age and the questions; what is not known of a record asks nothing of it."""
    known = ~targets[:, 0].isnan()
    age = smooth_l1_loss(outputs[:, 0], targets[:, 0].nan_to_num(), reduction="none") * known
    parts = [age.sum() / known.sum().clamp(min=1)]
    answers = by_question(outputs[:, 1:], questions)
    for answer, target, question in zip(answers, targets[:, 1:].T.long(), questions, strict=True):
        wrong = cross_entropy(
            answer, target, weight=weights(question), ignore_index=UNKNOWN, reduction="none"
        )
        parts.append(wrong.sum() / (target != UNKNOWN).sum().clamp(min=1))
    return torch.stack(parts).mean()


def weights(question: Question) -> Float[Tensor, " value"]:
    """Of the values in the loss: rare ones count for more, so that all learned values have a like say."""
    shares = torch.from_numpy(question.shares).float()
    equal = 1 / (shares > 0).sum()
    return torch.where(shares > 0, equal / shares, 0.0).clamp(max=MAX_WEIGHT)


def by_question(
    outputs: Float[Tensor, "batch output"], questions: tuple[Question, ...]
) -> tuple[Tensor, ...]:
    """The outputs (batch, value) that belong to each question."""
    return tuple(torch.split(outputs, [len(question.shares) for question in questions], dim=1))


def _batches(num_records: int, num_steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Places of records; every record once before any comes again."""
    waiting = torch.empty(0, dtype=torch.long)
    for _ in range(num_steps):
        while len(waiting) < BATCH_SIZE:
            waiting = torch.cat([waiting, torch.randperm(num_records, generator=generator)])
        batch, waiting = waiting[:BATCH_SIZE], waiting[BATCH_SIZE:]
        yield batch


def _moved(
    evened: Float[Tensor, "batch 1 height width"], generator: torch.Generator
) -> Float[Tensor, "batch 1 height width"]:
    """The batch a little to one side, each picture a little more or less lively; never mirrored."""
    reach = int(MAX_SHIFT * evened.shape[-1])
    shift = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
    lively = 1 + CONTRAST_SPREAD * torch.randn(len(evened), 1, 1, 1, generator=generator)
    return evened.roll(shift, dims=(2, 3)) * lively

"""A small classifier of radiographs, trained on the spot, so that measures need no weights from elsewhere.

It answers age, sex, view and every other attribute of which it saw enough. Trained on real radiographs, it
reads asked-for attributes back from synthetic ones; its last layer but one is the built-in encoder.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.conditioning import Schema
from model.evaluation.probe_network import (
    ProbeNetwork,
    evened,
    initial_probe,
    resized,
    to_probe_size,
)
from model.evaluation.probe_training import by_question, train, weights
from model.evaluation.questions import MIN_EXAMPLES, UNKNOWN, Question, answerable, classes

NUM_STEPS = 800
"""Enough for 3,000 radiographs; at 64 pixels about 50 seconds of one CPU."""
MIDDLE_AGE, AGE_SCALE = 50.0, 20.0
"""Years that are 0 in the loss, and that are one."""
OLDEST = 120.0
"""Years that a prediction stays below."""
READ_AT_ONCE = 256


class ProbeUntrainable(ValueError):
    """Records of which a probe can learn nothing."""

    def __init__(self, num_records: int) -> None:
        super().__init__(
            f"a probe cannot be trained on these {num_records} records: no attribute has two values with "
            f"{MIN_EXAMPLES} records each; ingest more radiographs, or labels with them."
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predictions:
    """What a probe says of n pictures."""

    age: Float[np.ndarray, " record"]
    """Years; NaN where the probe has not learned age."""
    states: Mapping[str, Float[np.ndarray, "record value"]]
    """Attribute -> probabilities, as if every value were equally frequent.

    Values are in the order of their ids; those of a finding are not present and present. 0 for a value that
    was not learned.
    """


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Probe:
    """A trained probe; the questions say what it answers."""

    network: ProbeNetwork
    image_size: int
    """Pixels that the network reads."""
    questions: tuple[Question, ...]
    answers_age: bool
    unanswered: Mapping[str, str]
    """Attribute that was not learned -> why."""

    @property
    def num_features(self) -> int:
        """Numbers per picture in the last layer but one."""
        return self.network.head.in_features

    def predict(self, images: Float[Tensor, "record 1 height width"]) -> Predictions:
        """Answer every question about pictures in [-1, 1], of any size."""
        features = torch.from_numpy(self.features(images))
        with torch.inference_mode():
            outputs = self.network.head(features).double()
        years = (MIDDLE_AGE + AGE_SCALE * outputs[:, 0]).clamp(0, OLDEST).numpy()
        answers = by_question(outputs[:, 1:], self.questions)
        return Predictions(
            age=years if self.answers_age else np.full(len(years), math.nan),
            states={
                question.name: _as_if_equally_frequent(answer, question)
                for question, answer in zip(self.questions, answers, strict=True)
            },
        )

    def features(
        self, images: Float[Tensor, "record 1 height width"]
    ) -> Float[np.ndarray, "record feature"]:
        """The last layer but one, of pictures in [-1, 1], of any size."""
        parts = [np.empty((0, self.num_features), dtype=np.float32)]
        with torch.inference_mode():
            for part in torch.split(images, READ_AT_ONCE):
                pictures = evened(resized(part, self.image_size))
                parts.append(self.network.features(pictures).numpy())
        return np.concatenate(parts)


def train_probe(
    images: Float[Tensor, "record 1 height width"],
    rows: Float[np.ndarray, "record attribute"],
    schema: Schema,
    *,
    seed: int,
    num_steps: int = NUM_STEPS,
) -> Probe:
    """Train on radiographs and what is known of them; the same arguments give the same bits on one machine.

    Args:
        images: pixels in [-1, 1]; above 128 pixels a side they are reduced first.
        rows: as the schema orders them, nulls included.
        schema: what the columns are.
        seed: of the first weights, batches and movements.
        num_steps: of 32 records each.

    Raises:
        ProbeUntrainable: no attribute has examples enough.
    """
    questions, unanswered = answerable(rows, schema)
    num_ages = int(np.isfinite(rows[:, 0]).sum())
    if num_ages < MIN_EXAMPLES:
        unanswered = {"age": f"{num_ages} ages are known, {MIN_EXAMPLES} are needed", **unanswered}
        if not questions:
            raise ProbeUntrainable(len(rows))
    size = to_probe_size(images[:1]).shape[-1]
    parts = torch.split(images, READ_AT_ONCE)
    pictures = torch.cat([evened(resized(part, size)) for part in parts])
    generator = torch.Generator().manual_seed(seed)
    network = initial_probe(1 + sum(len(q.shares) for q in questions), size, generator)
    targets = _targets(rows, schema, questions)
    train(network, pictures, targets, questions, num_steps=num_steps, generator=generator)
    return Probe(
        network=network.eval(),
        image_size=size,
        questions=questions,
        answers_age=num_ages >= MIN_EXAMPLES,
        unanswered=unanswered,
    )


def _targets(
    rows: Float[np.ndarray, "record attribute"], schema: Schema, questions: tuple[Question, ...]
) -> Float[Tensor, "record target"]:
    """Scaled age or NaN, then the class per question; UNKNOWN for values that are not learned."""
    answers = classes(rows, schema)
    columns = [(rows[:, 0] - MIDDLE_AGE) / AGE_SCALE]
    for question in questions:
        given = answers[question.name]
        is_learned = (given != UNKNOWN) & (question.shares[given] > 0)
        columns.append(np.where(is_learned, given, UNKNOWN))
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def _as_if_equally_frequent(
    answer: Float[Tensor, "record value"], question: Question
) -> Float[np.ndarray, "record value"]:
    """Probabilities without what the weights of the loss have left of the training frequencies."""
    seen = torch.from_numpy(question.shares) * weights(question)
    tilted = (answer - seen.log()).where(seen > 0, -torch.inf)
    return torch.softmax(tilted, dim=1).numpy()

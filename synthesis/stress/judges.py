"""Whoever scores radiographs for the finding: the classifier under test and, beside it, a reference.

A generated radiograph shows what was asked for only as well as the model draws it. Where a probe trained on the
hospital's own radiographs does worse too, the model may be to blame and not the classifier.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from client.cache.records import Records
from model.conditioning import Schema
from model.evaluation.probe import Probe, ProbeUntrainable, train_probe
from model.evaluation.probe_network import to_probe_size

MAX_PROBE_RECORDS = 4000
"""Radiographs that the reference is trained on, at the most."""

READ_AT_ONCE = 64


class Judge(Protocol):
    """Scores radiographs for one finding."""

    @property
    def threshold(self) -> float:
        """Score from which on the finding counts as seen."""

    def score(self, images: Float[Tensor, "batch 1 height width"]) -> NDArray[np.float64]:
        """One score per picture in [-1, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reference:
    """The built-in probe, trained on the hospital's radiographs that are not held out."""

    probe: Probe
    finding: str
    threshold: float = 0.5

    def score(self, images: Float[Tensor, "batch 1 height width"]) -> NDArray[np.float64]:
        """Probability of the finding, as if it were as frequent as not."""
        states: NDArray[np.float64] = self.probe.predict(images).states[self.finding][:, 1]
        return states.astype(np.float64)


def train_reference(
    records: Records, finding: str, *, num_steps: int, seed: int
) -> Reference | None:
    """A reference for the finding; None if the hospital's radiographs do not teach it."""
    rng = np.random.default_rng([seed, 2])
    chosen = rng.permutation(np.flatnonzero(~records.held_out))[:MAX_PROBE_RECORDS]
    if not len(chosen):
        return None
    parts = np.array_split(chosen, -(-len(chosen) // READ_AT_ONCE))
    images = torch.cat([to_probe_size(records.batch(part)[0]) for part in parts])
    schema = Schema(records.findings)
    try:
        probe = train_probe(images, records.rows[chosen], schema, seed=seed, num_steps=num_steps)
    except ProbeUntrainable:
        return None
    is_taught = any(question.name == finding for question in probe.questions)
    return Reference(probe=probe, finding=finding) if is_taught else None


def score_all(judges: Sequence[Judge], batches: Iterable[Tensor]) -> NDArray[np.float64]:
    """(judge, picture): what everybody says of all pictures, read once, batch after batch."""
    return np.concatenate([[judge.score(batch) for judge in judges] for batch in batches], axis=1)

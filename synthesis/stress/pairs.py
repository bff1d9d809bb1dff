"""Radiographs edited one attribute at a time, and every judge asked before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from model.editing.edit import edit
from model.editing.settings import FlowEdit
from model.generate import BATCH, Generator
from synthesis.stress.changes import Change
from synthesis.stress.judges import Judge, score_all

NUM_SHOWN = 4
"""Pairs per change that a page shows."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Originals:
    """n pictures to edit, and what is known of them."""

    images: Float[Tensor, "picture 1 height width"]
    """In [-1, 1]."""

    rows: NDArray[np.float32]
    """(n, attribute)."""

    scores: NDArray[np.float64]
    """(judge, n)."""

    def take(self, chosen: NDArray[np.integer]) -> "Originals":
        """Some of them."""
        return Originals(
            images=self.images[torch.from_numpy(chosen)],
            rows=self.rows[chosen],
            scores=self.scores[:, chosen],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """What one change did to n pictures."""

    change: Change
    before: NDArray[np.float64]
    """(judge, n) scores."""

    after: NDArray[np.float64]
    shown: tuple[tuple[int, Tensor, Tensor], ...]
    """A few of the n: number, before and after, (1, 1, height, width) each."""


def edit_pairs(
    generator: Generator,
    judges: Sequence[Judge],
    originals: Originals,
    change: Change,
    *,
    settings: FlowEdit,
    seed: int,
) -> Pairs | None:
    """Apply one change to every picture that it applies to; None if there is none.

    Args:
        generator: edits.
        judges: are asked.
        originals: pictures with their scores.
        change: what to change.
        settings: how to edit.
        seed: of the edits' noise.
    """
    chosen = np.flatnonzero(change.applies(originals.rows, generator.schema))
    if not len(chosen):
        return None
    source = originals.take(chosen)
    target = torch.from_numpy(change.changed(source.rows, generator.schema))
    condition = torch.from_numpy(source.rows)
    edited = edit(generator, source.images, condition, target, seed=seed, settings=settings)
    spread = np.unique(np.linspace(0, len(chosen) - 1, NUM_SHOWN).round().astype(int)).tolist()
    return Pairs(
        change=change,
        before=source.scores,
        after=score_all(judges, torch.split(edited, BATCH)),
        shown=tuple(
            (place, source.images[place : place + 1], edited[place : place + 1]) for place in spread
        ),
    )

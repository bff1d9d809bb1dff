"""How good edits are, where the true counterfactual is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from model.editing.edit import edit
from model.editing.settings import EditSettings
from model.generate import Generator
from simulation.edit_pairs import EditPair

CHANGED = 0.05
"""Where a true change is larger, out of the 2 from black to white, is inside the true region."""

Change = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class EditQuality:
    """Means over pairs; brightness runs from -1 to 1."""

    gain: float
    """How much of the true change was made: its projection on the true change, 1 is all of it."""
    cosine: float
    """How much of what was made is true change: 1 if nothing else was."""
    inside: float
    """Root of the mean squared error inside the true region."""
    outside: float
    """The same of the change outside it, where next to nothing should change."""
    to_truth: float
    """Root of the mean squared error over the whole picture."""
    edit_back: float
    """The same between the picture and what editing there and back makes of it."""


def edit_qualities(
    generator: Generator, pairs: Sequence[EditPair], settings: EditSettings, *, seed: int
) -> list[EditQuality]:
    """Edit the first picture of every pair, there and back; one quality per pair."""
    before, after, source, target = _stacked(pairs)
    made = edit(generator, before, source, target, seed=seed, settings=settings)
    back = edit(generator, made, target, source, seed=seed, settings=settings)
    parts = (made - before, after - before, back - before)
    changes = [part[:, 0].numpy() for part in parts]
    return [quality_of(*change) for change in zip(*changes, strict=True)]


def untouched_qualities(pairs: Sequence[EditPair]) -> list[EditQuality]:
    """What leaving every picture as it is would be worth."""
    changes = [(np.zeros_like(pair.before), pair.after - pair.before) for pair in pairs]
    return [quality_of(none, true, none) for none, true in changes]


def quality_of(made: Change, true: Change, left: Change) -> EditQuality:
    """The quality of one edit.

    Args:
        made: what the edit added, (row, column).
        true: what it should have added.
        left: what was left of it after editing back.
    """
    along = float((made * true).sum())
    norms = float(np.linalg.norm(made) * np.linalg.norm(true))
    inside = np.abs(true) > CHANGED
    return EditQuality(
        gain=along / float((true * true).sum()),
        cosine=along / norms if norms else 0.0,
        inside=_rms((made - true)[inside]),
        outside=_rms(made[~inside]),
        to_truth=_rms(made - true),
        edit_back=_rms(left),
    )


def mean_quality(qualities: Sequence[EditQuality]) -> EditQuality:
    """Every measure's mean."""
    names = [field.name for field in fields(EditQuality)]
    return EditQuality(
        **{name: float(np.mean([getattr(each, name) for each in qualities])) for name in names}
    )


def by_edit(pairs: Sequence[EditPair], qualities: Sequence[EditQuality]) -> dict[str, EditQuality]:
    """Means for each kind of edit, in the order in which they first occur."""
    groups: dict[str, list[EditQuality]] = {}
    for pair, quality in zip(pairs, qualities, strict=True):
        groups.setdefault(pair.edit, []).append(quality)
    return {name: mean_quality(group) for name, group in groups.items()}


def table(rows: Mapping[str, EditQuality]) -> str:
    """One line per row, measures in columns."""
    width = max(map(len, rows))
    return "\n".join(
        [heading(width), *(row(title, quality, width) for title, quality in rows.items())]
    )


def heading(width: int) -> str:
    """Names of the measures, over rows whose titles have this width."""
    return " " * width + "".join(f"{field.name:>10}" for field in fields(EditQuality))


def row(title: str, quality: EditQuality, width: int) -> str:
    """One line of a table."""
    return f"{title:<{width}}" + "".join(f"{value:10.3f}" for value in asdict(quality).values())


def _stacked(pairs: Sequence[EditPair]) -> tuple[torch.Tensor, ...]:
    """Pictures (pair, 1, row, column) before and after, conditions (pair, attribute) before and after."""
    parts: tuple[Callable[[EditPair], NDArray[np.float32]], ...] = (
        lambda pair: pair.before[None],
        lambda pair: pair.after[None],
        lambda pair: pair.source,
        lambda pair: pair.target,
    )
    return tuple(torch.from_numpy(np.stack([part(pair) for pair in pairs])) for part in parts)


def _rms(values: Change) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0

"""Groups and cells of radiographs, each with what the classifier is worth there, and the worst of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from model.conditioning import Schema
from synthesis.stress.axes import Axis
from synthesis.stress.figures import Figures, Gap, Scored, figures, gaps


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One group of an axis, or one cell of all axes."""

    label: str
    figures: Figures | None
    """None where it has too few radiographs to say anything."""

    gaps: tuple[Gap, ...] = ()
    """Against the rest; of groups only."""

    reference: Figures | None = None
    """Of the reference, on the same radiographs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A set of radiographs, whole and in parts."""

    title: str
    everything: Row
    groups: tuple[Row, ...]
    cells: tuple[Row, ...]

    @property
    def worst_group(self) -> Row | None:
        """The group with the smallest AUROC."""
        return _worst(self.groups)

    @property
    def worst_cell(self) -> Row | None:
        """The cell with the smallest AUROC; of many small cells, one is low by chance."""
        return _worst(self.cells)

    @property
    def concerns(self) -> Iterator[tuple[str, Gap]]:
        """Groups that are worse off than the rest, with what shows it."""
        return ((row.label, gap) for row in self.groups for gap in row.gaps if gap.is_concern)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measuring:
    """How a table is made."""

    min_cell: int
    """Radiographs with, and as many without the finding, that a part needs to be reported."""

    num_resamples: int
    seed: int


def tabulate(
    title: str,
    scored: Scored,
    reference: Scored | None,
    *,
    rows: NDArray[np.float32],
    axes: Sequence[Axis],
    schema: Schema,
    how: Measuring,
) -> Table:
    """Measure everything, every group of every axis, and every cell.

    Args:
        title: of the table, for people.
        scored: n radiographs.
        reference: the same ones, judged by the reference.
        rows: (n, attribute), which decide the groups.
        axes: what to group by.
        schema: what the columns are.
        how: how closely.
    """
    members = {axis.attribute: axis.group_numbers(rows, schema) for axis in axes}
    masks = {
        f"{axis.attribute} {group.label}": members[axis.attribute] == number
        for axis in axes
        for number, group in enumerate(axis.groups)
    }
    told = {
        label: mask
        for label, mask in masks.items()
        if all(scored.take(part).holds(how.min_cell) for part in (mask, ~mask))
    }
    found = gaps(scored, reference, told, num_resamples=how.num_resamples, seed=how.seed)
    row = partial(_row, (scored, reference), how)
    return Table(
        title=title,
        everything=row("all", np.ones(len(rows), dtype=np.bool_)),
        groups=tuple(row(label, mask, found.get(label, ())) for label, mask in masks.items()),
        cells=tuple(row(label, mask) for label, mask in _cells(axes, members)),
    )


def _cells(
    axes: Sequence[Axis], members: dict[str, NDArray[np.intp]]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """One group of every axis at once; none if there is but one axis."""
    if len(axes) < 2:
        return
    for cell in product(*(range(len(axis.groups)) for axis in axes)):
        parts = list(zip(axes, cell, strict=True))
        label = ", ".join(f"{axis.attribute} {axis.groups[number].label}" for axis, number in parts)
        yield label, np.all([members[axis.attribute] == number for axis, number in parts], axis=0)


def _row(
    judged: tuple[Scored, Scored | None],
    how: Measuring,
    label: str,
    mask: NDArray[np.bool_],
    found: tuple[Gap, ...] = (),
) -> Row:
    scored, reference = judged
    if not scored.take(mask).holds(how.min_cell):
        return Row(label=label, figures=None)
    return Row(
        label=label,
        figures=figures(scored.take(mask), seed=how.seed),
        gaps=found,
        reference=None if reference is None else figures(reference.take(mask), seed=how.seed),
    )


def _worst(rows: Sequence[Row]) -> Row | None:
    told = [row for row in rows if row.figures and not math.isnan(row.figures.auroc)]
    return min(told, key=lambda row: row.figures.auroc if row.figures else math.inf, default=None)

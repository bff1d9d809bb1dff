"""Single-attribute edits: the same radiograph with one thing changed, and everything else kept.

A classifier should not care about a patient's sex, age, view or another finding, and it should care about the
finding itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conditioning import FINDING_STATES, Schema
from synthesis.generation.wish import Wish
from synthesis.stress.axes import Axis, Group


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One attribute from some values to one other."""

    what: str
    """For people: ``sex from F to M``."""

    attribute: str
    sources: tuple[tuple[float, float], ...]
    """Ranges of numbers, as in a condition, of the pictures that it applies to; both ends belong to a range."""

    target: float
    """Number that takes their place."""

    rises: bool | None = None
    """Whether the score should rise, or fall, because it is the finding under test; None if it should stay."""

    def applies(self, rows: NDArray[np.float32], schema: Schema) -> NDArray[np.bool_]:
        """Which pictures of these conditions, (n, attribute), it changes."""
        column = rows[:, schema.names.index(self.attribute)]
        within = [(column >= first) & (column < last + 1) for first, last in self.sources]
        return np.asarray(np.any(within, axis=0))

    def changed(self, rows: NDArray[np.float32], schema: Schema) -> NDArray[np.float32]:
        """The conditions after it."""
        after = rows.copy()
        after[:, schema.names.index(self.attribute)] = self.target
        return after


def changes(
    axes: Sequence[Axis], finding: str, others: Sequence[str], schema: Schema
) -> tuple[Change, ...]:
    """Every edit of a stress test: each group of each axis to the next, other findings added, the finding itself."""
    return (
        *_between_groups(axes, schema),
        *(_added(other, schema) for other in others),
        _finding_added(finding, schema),
        _finding_removed(finding, schema),
    )


def _between_groups(axes: Sequence[Axis], schema: Schema) -> Iterator[Change]:
    """To the next group, and from the last to the first."""
    for axis in axes:
        for group, following in zip(axis.groups, (*axis.groups[1:], axis.groups[0]), strict=True):
            yield Change(
                what=f"{axis.attribute} from {group.label} to {_target_label(following)}",
                attribute=axis.attribute,
                sources=(axis.ids(group, schema),),
                target=sum(axis.ids(following, schema)) // 2,
            )


def _added(other: str, schema: Schema) -> Change:
    """To present from whatever else it was, also from unknown."""
    present, last = _id(other, "present", schema), float(len(FINDING_STATES))
    return Change(
        what=f"{other} added",
        attribute=other,
        sources=((0.0, present - 1), (present + 1, last)),
        target=present,
    )


def _finding_added(finding: str, schema: Schema) -> Change:
    """From absent, and from what a report leaves out."""
    absent, silent = _id(finding, "absent", schema), _id(finding, "not_mentioned", schema)
    return Change(
        what=f"{finding} added",
        attribute=finding,
        sources=((absent, absent), (silent, silent)),
        target=_id(finding, "present", schema),
        rises=True,
    )


def _finding_removed(finding: str, schema: Schema) -> Change:
    present = _id(finding, "present", schema)
    return Change(
        what=f"{finding} removed",
        attribute=finding,
        sources=((present, present),),
        target=_id(finding, "absent", schema),
        rises=False,
    )


def _target_label(group: Group) -> str:
    """An age is edited to one year, the middle of its group."""
    first, last = group.values
    return (
        f"{(first + last) // 2:g}"
        if isinstance(first, float) and isinstance(last, float)
        else group.label
    )


def _id(finding: str, state: str, schema: Schema) -> float:
    return float(Wish(values={finding: state}).row(schema)[schema.names.index(finding)])

"""The attributes that radiographs are grouped by, and which radiographs are asked for in each group.

An axis is one attribute with two groups or more. All groups of all axes are crossed: every cell gets as many
radiographs with the finding as without, so that a difference between groups is none of their composition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from model.conditioning import SEXES, Schema
from synthesis.generation.wish import SiteNumbers, UnknownWish, Value, Wish, parse_value

USUAL = {"sex": ",".join(SEXES), "age": "20-44,45-64,65-89", "view": "PA,AP"}
ATTRIBUTES = ("sex", "age", "view", "race", "manufacturer", "site")


class UnknownGrouping(ValueError):
    """Radiographs cannot be grouped like this."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"radiographs cannot be grouped by {given!r}: give one of {', '.join(ATTRIBUTES)}, with two groups or "
            "more for what has none of its own, such as view=PA,LATERAL, age=18-50,51-90 or manufacturer=ge,philips"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The radiographs that share a value of one attribute."""

    label: str
    """As it was asked for."""

    values: tuple[Value, Value]
    """First and last; the same for everything but age, of which both ends belong to the group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One attribute and its groups."""

    attribute: str
    groups: tuple[Group, ...]

    def ids(self, group: Group, schema: Schema) -> tuple[float, float]:
        """First and last number that stand for a group in a condition."""
        column = schema.names.index(self.attribute)
        first, last = (
            Wish(values={self.attribute: value}).row(schema)[column] for value in group.values
        )
        return float(first), float(last)

    def group_numbers(self, rows: NDArray[np.float32], schema: Schema) -> NDArray[np.intp]:
        """The group that each row of (n, attribute) belongs to, -1 for none and for what is not known."""
        column = rows[:, schema.names.index(self.attribute)]
        numbers = np.full(len(rows), -1)
        for number, group in enumerate(self.groups):
            first, last = self.ids(group, schema)
            numbers[(column >= first) & (column < last + 1)] = number
        return numbers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Asked:
    """What radiographs are drawn for."""

    rows: NDArray[np.float32]
    """(n, attribute)."""

    present: NDArray[np.bool_]
    """(n,), whether the finding was asked for."""


def parse_axis(text: str, schema: Schema, site_numbers: SiteNumbers) -> Axis:
    """``sex``, or ``age=18-50,51-90``, as an axis.

    Raises:
        UnknownGrouping: of no attribute, or of fewer than two groups.
        UnknownWish, NoAge, NoSites: a group that the model does not know.
    """
    attribute, _, given = text.partition("=")
    labels = (given or USUAL.get(attribute, "")).split(",")
    if attribute not in ATTRIBUTES or len(set(labels)) != len(labels) or len(labels) < 2:
        raise UnknownGrouping(text)
    groups = [_parse_group(attribute, label, schema, site_numbers) for label in labels]
    return Axis(attribute=attribute, groups=tuple(groups))


def ask(axes: Sequence[Axis], finding: str, schema: Schema, *, per_cell: int, seed: int) -> Asked:
    """Conditions of ``per_cell`` radiographs with and as many without the finding, in every cell.

    Ages are spread evenly over a group; whatever is no axis stays open.

    Raises:
        UnknownWish: the model knows no such finding.
    """
    if finding not in schema.findings:
        raise UnknownWish(finding, schema.findings)
    rng = np.random.default_rng([seed, 1])
    rows = [
        _row(axes, cell, (finding, state), schema, rng)
        for cell in product(*(axis.groups for axis in axes))
        for state in ("absent", "present")
        for _ in range(per_cell)
    ]
    present = np.tile(np.repeat([False, True], per_cell), len(rows) // (2 * per_cell))
    return Asked(rows=np.stack(rows), present=present)


def _row(
    axes: Sequence[Axis],
    cell: Sequence[Group],
    finding: tuple[str, str],
    schema: Schema,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    values: dict[str, Value] = dict([finding])
    for axis, group in zip(axes, cell, strict=True):
        first, last = group.values
        is_age = isinstance(first, float) and isinstance(last, float)
        values[axis.attribute] = float(rng.integers(int(first), int(last) + 1)) if is_age else first
    return Wish(values=values).row(schema)


def _parse_group(attribute: str, label: str, schema: Schema, sites: SiteNumbers) -> Group:
    if attribute != "age":
        value = parse_value(attribute, label, schema, sites)
        return Group(label=label, values=(value, value))
    ends = label.partition("-")[::2]
    first, last = (float(parse_value("age", text, schema)) for text in ends)
    if first > last:
        raise UnknownGrouping(f"age={label}")
    return Group(label=label, values=(first, last))

"""What is known of the radiograph, what it shall become, and what is left open: two conditions.

Everything that is known and not set stays as it is in both, so that the edit keeps it. What is
freed is open in both, so that it may follow.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conditioning import Schema
from synthesis.editing.consequences import NO_CONSEQUENCES, Consequences
from synthesis.generation.wish import UnknownWish, Value, Wish

NO_FINDING, HARMLESS = "no_finding", frozenset({"support_devices"})
"""A chest without findings may have devices in it."""
_OPPOSITES = {"present": "absent", "absent": "present"}


class NothingToChange(ValueError):
    """The radiograph is already as it is wanted."""

    def __init__(self) -> None:
        super().__init__(
            "nothing would change: give --set NAME=VALUE with a value that the radiograph does not have"
        )


class Contradiction(ValueError):
    """Attributes that cannot be as they are wanted at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Two conditions that differ in what is edited, and in nothing else."""

    source: Mapping[str, Value]
    """What is known of the radiograph; attributes that are open are left out."""

    target: Mapping[str, Value]
    """What it shall become."""

    edits: Mapping[str, Value]
    """What changes: what was asked for, and what follows from it."""

    follows: frozenset[str]
    """Attributes that were not asked for and change all the same."""

    assumed: frozenset[str]
    """Attributes of the source that nobody stated, taken for the opposite of what is wanted."""

    freed: frozenset[str]
    """Attributes left open in both."""

    def rows(self, schema: Schema) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Source and target as numbers, each of shape (attribute,)."""
        return Wish(values=self.source).row(schema), Wish(values=self.target).row(schema)


def wanted(
    known: Mapping[str, Value],
    asked: Mapping[str, Value],
    free: Collection[str],
    schema: Schema,
    follows: Consequences = NO_CONSEQUENCES,
) -> Wanted:
    """Make the two conditions.

    A finding that is wanted present and of which nothing is known is taken to be absent, and the
    other way round. An edit of findings frees `no_finding`, unless it is set itself.

    Args:
        known: what is known of the radiograph.
        asked: what is set.
        free: attributes to leave open.
        schema: the attributes that the model knows.
        follows: what changes with it.

    Raises:
        UnknownWish: an attribute to free that the model does not know.
        Contradiction: an attribute is both set and freed, or `no_finding` goes with a finding.
        NothingToChange: the source is the target already.
    """
    _check_names(asked, free, schema)
    known, edits = {**follows.before, **known}, {**follows.after, **asked}
    assumed = _opposites(edits, known, schema)
    freed = frozenset(free) | _implied(edits, schema)
    source = {name: value for name, value in {**known, **assumed}.items() if name not in freed}
    target = {**source, **edits}
    if target == source:
        raise NothingToChange
    _check_sense(target)
    return Wanted(
        source=source,
        target=target,
        edits=edits,
        follows=frozenset(follows.after.keys() - asked.keys()),
        assumed=frozenset(assumed),
        freed=freed,
    )


def _opposites(
    edits: Mapping[str, Value], known: Mapping[str, Value], schema: Schema
) -> dict[str, Value]:
    """Findings of which nothing is known -> the opposite of what they shall become."""
    return {
        name: _OPPOSITES[str(value)]
        for name, value in edits.items()
        if name in schema.findings and name not in known and value in _OPPOSITES
    }


def _check_names(asked: Mapping[str, Value], free: Collection[str], schema: Schema) -> None:
    for name in free:
        if name not in schema.names:
            raise UnknownWish(name, schema.names)
        if name in asked:
            raise Contradiction(f"{name} is both set and freed: leave out one of them")


def _implied(edits: Mapping[str, Value], schema: Schema) -> frozenset[str]:
    """`no_finding`, if a finding that it speaks of is edited."""
    speaks_of = edits.keys() & (set(schema.findings) - HARMLESS - {NO_FINDING})
    return frozenset({NO_FINDING} if speaks_of and NO_FINDING not in edits else ())


def _check_sense(target: Mapping[str, Value]) -> None:
    if target.get(NO_FINDING) != "present":
        return
    for name, value in target.items():
        if value == "present" and name not in HARMLESS | {NO_FINDING}:
            raise Contradiction(
                f"{NO_FINDING}=present contradicts {name}=present: give --set {name}=absent as well"
            )

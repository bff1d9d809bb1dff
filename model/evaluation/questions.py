"""What a probe can be asked: rows of attributes as classes, and the attributes that have examples enough.

A finding is present or it is not: "not mentioned" counts as not present, as it nearly always is, and
"uncertain" is left out, like null.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from model.conditioning import FINDING_STATES, NULL, Schema

MIN_EXAMPLES = 20
"""Records of a value below which a probe does not learn it."""

UNKNOWN = -1
"""Class of a record of which the value is not known."""

_PRESENT = 1 + FINDING_STATES.index("present")
_UNCERTAIN = 1 + FINDING_STATES.index("uncertain")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Question:
    """One attribute with two values or more to tell apart."""

    name: str
    shares: Float[np.ndarray, " value"]
    """How frequent each value was in training; 0 for values that were not learned. Add up to 1."""


def classes(
    rows: Float[np.ndarray, "record attribute"], schema: Schema
) -> dict[str, Int[np.ndarray, " record"]]:
    """Attribute without age -> class of each record: the place of its value, or UNKNOWN.

    The classes of a finding are 0, not present, and 1, present.
    """
    ids = dict(zip(schema.names[1:], rows[:, 1:].T.astype(np.int64), strict=True))
    return {
        name: _finding_class(values) if name in schema.findings else values - 1
        for name, values in ids.items()
    }


def num_values(name: str, schema: Schema) -> int:
    """Classes of an attribute."""
    if name in schema.findings:
        return 2
    return schema.vocabulary[schema.names.index(name)]


def answerable(
    rows: Float[np.ndarray, "record attribute"], schema: Schema
) -> tuple[tuple[Question, ...], dict[str, str]]:
    """The questions that can be learned, and the other attributes with the reason why not."""
    questions, unanswered = [], {}
    for name, answers in classes(rows, schema).items():
        counts = np.bincount(answers[answers != UNKNOWN], minlength=num_values(name, schema))
        learned = np.where(counts >= MIN_EXAMPLES, counts, 0)
        if (learned > 0).sum() >= 2:
            questions.append(Question(name=name, shares=learned / learned.sum()))
        else:
            unanswered[name] = _too_few(name, counts, schema)
    return tuple(questions), unanswered


def _finding_class(ids: Int[np.ndarray, " record"]) -> Int[np.ndarray, " record"]:
    unknown = (ids == NULL) | (ids == _UNCERTAIN)
    return np.where(unknown, UNKNOWN, ids == _PRESENT)


def _too_few(name: str, counts: Int[np.ndarray, " value"], schema: Schema) -> str:
    needed = f"{MIN_EXAMPLES} of each are needed"
    if name in schema.findings:
        return f"{counts[1]} records with it and {counts[0]} without, {needed}"
    known = int((counts > 0).sum())
    return f"{known} values occur, {int((counts >= MIN_EXAMPLES).sum())} often enough: {needed}"

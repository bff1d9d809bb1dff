"""How well a classifier reads each attribute of some radiographs: one measure per attribute.

Area under the ROC curve where two values occur, mean share of right answers over the values (balanced
accuracy) where more do, and years of error for age. Attributes of which too little is known are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.conditioning import Schema
from model.evaluation.probe import Predictions
from model.evaluation.questions import UNKNOWN, classes
from synthesis.evaluation.estimate import (
    Statistic,
    Values,
    Weights,
    divided,
    mean_of,
    mean_over,
)

Measure = Literal["AUROC", "balanced accuracy", "years of error"]

MIN_PER_VALUE = 5
"""Records of a value that a measure needs."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reading:
    """What a classifier made of one attribute of n radiographs."""

    attribute: str
    measure: Measure
    num_known: int
    """Radiographs of which the attribute is known."""

    truth: NDArray[np.int64]
    """(n,), place of the value among those that occur, or UNKNOWN; for age 0 where it is known."""

    chance: float
    """What guessing gives."""

    statistic: Statistic

    @property
    def num_positive(self) -> int | None:
        """Radiographs with the second of two values; None for other measures."""
        return int((self.truth == 1).sum()) if self.measure == "AUROC" else None


def readings(
    predictions: Predictions, rows: NDArray[np.float32], schema: Schema
) -> dict[str, Reading]:
    """A measure for each attribute that was predicted and occurs.

    Args:
        predictions: of n pictures.
        rows: (n, attribute), what is true, or was asked for; null where nobody knows.
        schema: what the columns are.
    """
    found = _age(predictions.age, rows[:, 0])
    asked = classes(rows, schema)
    for name, answer in predictions.states.items():
        reading = _states(name, asked[name], answer)
        if reading is not None:
            found[name] = reading
    return found


def shared(first: Mapping[str, Reading], second: Mapping[str, Reading]) -> list[str]:
    """Attributes that both measure in the same way."""
    return [
        name for name in first if name in second and first[name].measure == second[name].measure
    ]


def area_under_curve(
    scores: NDArray[np.floating], truth: NDArray[np.int64], weights: Weights
) -> Values:
    """AUROC of value 1 against value 0, under each row of weights; a tie counts half.

    Args:
        scores: (n,), higher for value 1.
        truth: (n,), 0, 1 or UNKNOWN.
        weights: (resample, n).
    """
    order = np.argsort(scores, kind="stable")
    order = order[truth[order] != UNKNOWN]
    if not len(order):
        return np.full(len(weights), np.nan)
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    positive, negative = (
        np.add.reduceat(weights[:, order] * (truth[order] == value), starts, axis=1)
        for value in (1, 0)
    )
    below = np.cumsum(negative, axis=1) - negative / 2
    return divided((positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _age(years: NDArray[np.floating], truth: NDArray[np.floating]) -> dict[str, Reading]:
    error = np.abs(years - truth)
    known = np.isfinite(error)
    if known.sum() < MIN_PER_VALUE:
        return {}
    guess = np.abs(truth[known] - np.median(truth[known])).mean()
    reading = Reading(
        attribute="age",
        measure="years of error",
        num_known=int(known.sum()),
        truth=np.where(known, 0, UNKNOWN),
        chance=float(guess),
        statistic=partial(mean_of, error),
    )
    return {"age": reading}


def _states(name: str, given: NDArray[np.int64], answer: NDArray[np.floating]) -> Reading | None:
    """The measure that fits the number of values that occur and were learned."""
    counts = np.bincount(given[given != UNKNOWN], minlength=answer.shape[1])
    values = np.flatnonzero((counts >= MIN_PER_VALUE) & (answer.sum(axis=0) > 0))
    if len(values) < 2:
        return None
    place = np.full(len(counts) + 1, UNKNOWN)
    place[values] = np.arange(len(values))
    truth, answer = place[given], answer[:, values]
    is_pair = len(values) == 2
    scores = answer[:, 1] / np.maximum(answer.sum(axis=1), 1e-12)
    right = answer.argmax(axis=1) == truth
    return Reading(
        attribute=name,
        measure="AUROC" if is_pair else "balanced accuracy",
        num_known=int((truth != UNKNOWN).sum()),
        truth=truth,
        chance=1 / len(values),
        statistic=partial(area_under_curve, scores, truth)
        if is_pair
        else partial(_balanced, right, truth),
    )


def _balanced(right: NDArray[np.bool_], truth: NDArray[np.int64], weights: Weights) -> Values:
    """Mean over the values of the share of right answers."""
    known = np.unique(truth[truth != UNKNOWN])
    return mean_over([mean_of(right, weights * (truth == value)) for value in known])

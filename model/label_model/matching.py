"""The law whose margins are given: iterative proportional fitting.

One margin after the other is made right by adding to the effects the logarithm of what it should be over what it is,
until all are right at once (Deming and Stephan 1940, https://doi.org/10.1214/aoms/1177731829). What comes out is the law
of largest entropy that has these margins, and the most likely one if the margins are those of a sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from model.label_model.crowd import Crowd
from model.label_model.label_model import Law, log_sum

EVERYBODY = ""
"""In the place of a parent: the margin of the child alone."""
MAX_SWEEPS = 100
TOLERANCE = 1e-4
"""Largest correction of a log-probability at which all margins count as right."""
MAX_EFFECT = 8.0
"""Of a log-probability either way, a factor of 3000: noised counts may contradict each other, and no law has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """Weights of a parent's and the child's values together."""

    parent: str
    target: Float[np.ndarray, "parent_value value"]
    """Over the records of the hospitals that told; rows of 0 are not told."""
    is_told: Bool[np.ndarray, " site"]
    """Whether each hospital told."""


def match(crowd: Crowd, margins: Sequence[Margin]) -> Law:
    """Find the law that gives all margins at once; one of them is of `EVERYBODY`.

    Args:
        crowd: The parents' joint values; every combination once is enough.
        margins: Of the child, with `EVERYBODY` and with its parents.
    """
    places = crowd.labels | {EVERYBODY: np.zeros_like(crowd.sites)}
    effects = {each.parent: np.zeros_like(each.target) for each in margins}
    weights = {each.parent: crowd.weights * each.is_told[crowd.sites] for each in margins}
    logits = np.zeros((len(crowd.weights), margins[0].target.shape[1]))
    for _ in range(MAX_SWEEPS):
        largest = 0.0
        for margin in margins:
            probabilities = np.exp(logits - log_sum(logits)[:, None])
            joint = weights[margin.parent][:, None] * probabilities
            sums = _sum_by(places[margin.parent], joint, margin.target)
            before = effects[margin.parent]
            wanted = before + _correction(margin.target, sums)
            effects[margin.parent] = np.clip(wanted, -MAX_EFFECT, MAX_EFFECT)
            step = effects[margin.parent] - before
            logits += step[places[margin.parent]]
            largest = max(largest, float(np.abs(step).max()))
        if largest < TOLERANCE:
            break
    return Law(base=effects.pop(EVERYBODY)[0], effects=effects)


def _sum_by(
    places: Int[np.ndarray, " record"],
    joint: Float[np.ndarray, "record value"],
    like: Float[np.ndarray, "parent_value value"],
) -> Float[np.ndarray, "parent_value value"]:
    """Sums over the records with each of the parent's values."""
    columns = [np.bincount(places, column, minlength=len(like)) for column in joint.T]
    return np.stack(columns, axis=1)


def _correction(
    target: Float[np.ndarray, "parent_value value"],
    current: Float[np.ndarray, "parent_value value"],
) -> Float[np.ndarray, "parent_value value"]:
    """What to add to the effects; nothing where nobody has the parent's value or nothing is told of it."""
    is_known = (target > 0) & (current > 0)
    steps: np.ndarray = np.log(np.where(is_known, target, 1.0) / np.where(is_known, current, 1.0))
    return steps

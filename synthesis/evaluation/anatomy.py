"""Whether samples look like a chest at all, by simple measures of a picture, beside the same of real radiographs.

The measures are for frontal views; real radiographs fail them too, and their share says how often by mistake.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conditioning import VIEWS, Schema
from model.evaluation.plausibility import CHECKS, plausibility
from synthesis.evaluation.estimate import Estimate, Weights, estimate, mean_of
from synthesis.evaluation.radiographs import Radiographs
from synthesis.proportions import Share, share

WORDS = {
    "lung_fields": "two lung fields",
    "upright": "upright",
    "heart_side": "heart on the patient's left",
    "left_right": "heart and stomach on the patient's left",
}
"""Check -> what it looks for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One measure."""

    name: str
    looks_for: str
    drawn: Share
    """Of the samples, those that pass."""

    real: Share
    """Of the real radiographs with the same conditions; the rest are false alarms."""

    difference: Estimate
    """Share of samples minus share of real radiographs, over resampled patients."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """All measures, on frontal views."""

    num_judged: int
    num_not_frontal: int
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """In plain words."""
        if not self.num_judged:
            return "No frontal view was asked for, and the measures are for frontal views."
        worse = [check for check in self.checks if check.difference.interval.high < 0]
        if not worse:
            return "Samples pass every check as often as real radiographs do, as far as N can tell."
        listed = "; ".join(
            f"{check.looks_for} in {100 * check.drawn.value:.0f} % of samples, "
            f"{100 * check.real.value:.0f} % of real radiographs"
            for check in worse
        )
        return f"Samples fail more often than real radiographs: {listed}."


def passed(radiographs: Radiographs) -> NDArray[np.bool_]:
    """Which checks each radiograph passes, (n, check)."""
    parts = [plausibility(images) for images in radiographs.batches()]
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in CHECKS]
    return np.stack(columns, axis=1)


def is_frontal(rows: NDArray[np.float32], schema: Schema) -> NDArray[np.bool_]:
    """Which radiographs are not known to be taken from the side or otherwise."""
    other = [1 + VIEWS.index(name) for name in ("LATERAL", "OTHER")]
    return ~np.isin(rows[:, schema.names.index("view")], other)


def anatomy(
    drawn: NDArray[np.bool_],
    real: NDArray[np.bool_],
    frontal: NDArray[np.bool_],
    weights: Weights,
) -> Anatomy:
    """Compare shares.

    Args:
        drawn: (n, check), what ``passed`` gives for n samples.
        real: (n, check), for the real radiographs with the same conditions.
        frontal: (n,), which of them to judge.
        weights: (1 + resample, n).
    """
    checks: tuple[Check, ...] = ()
    if frontal.any():
        judged = (drawn[frontal], real[frontal], weights[:, frontal])
        checks = tuple(_check(column, name, *judged) for column, name in enumerate(CHECKS))
    return Anatomy(
        num_judged=int(frontal.sum()), num_not_frontal=int((~frontal).sum()), checks=checks
    )


def _check(
    column: int,
    name: str,
    drawn: NDArray[np.bool_],
    real: NDArray[np.bool_],
    weights: Weights,
) -> Check:
    ours, theirs = drawn[:, column], real[:, column]
    return Check(
        name=name,
        looks_for=WORDS[name],
        drawn=share(int(ours.sum()), len(ours)),
        real=share(int(theirs.sum()), len(theirs)),
        difference=estimate(mean_of(ours, weights) - mean_of(theirs, weights)),
    )

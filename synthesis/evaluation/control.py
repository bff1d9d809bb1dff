"""Whether samples show what was asked for: a probe trained on real radiographs reads it back.

Beside it stands the same probe on the held-out radiographs whose conditions were asked for. A ratio of 1 says
that a sample shows an attribute as plainly as a real radiograph does; above 1 it exaggerates.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conditioning import Schema
from synthesis.evaluation.estimate import (
    NOT_KNOWN,
    Estimate,
    Weights,
    divided,
    estimate,
    mean_over,
)
from synthesis.evaluation.reading import Measure, Reading, shared


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributeControl:
    """One attribute."""

    attribute: str
    measure: Measure
    num_known: int
    """Samples that were asked for it."""

    num_positive: int | None
    chance: float
    drawn: Estimate
    real: Estimate
    ratio: Estimate
    """Drawn over real; for age, where less is better, real over drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """All attributes of one way of asking."""

    asked: str
    num_samples: int
    attributes: tuple[AttributeControl, ...]
    mean_drawn: Estimate
    """Mean AUROC over the attributes that have one."""

    mean_real: Estimate
    mean_ratio: Estimate

    @property
    def verdict(self) -> str:
        """In plain words."""
        if np.isnan(self.mean_drawn.value):
            return "Nothing could be read back: too few radiographs of every value are known."
        weakest = min(
            (part for part in self.attributes if part.measure == "AUROC"),
            key=lambda part: part.ratio.value,
        )
        return (
            f"Asked for {self.asked}, the probe reads samples with a mean AUROC of {self.mean_drawn}, and real "
            f"radiographs with {self.mean_real}: {_strength(self)} Least plain is "
            f"{weakest.attribute.replace('_', ' ')}, {weakest.drawn} against {weakest.real}."
        )


def control(
    asked: str, drawn: Mapping[str, Reading], real: Mapping[str, Reading], weights: Weights
) -> Control:
    """Compare what a probe reads of samples and of the real radiographs with the same conditions.

    Args:
        asked: in words, what the samples were asked for.
        drawn: of n samples, against what was asked for.
        real: of the n real radiographs, against the truth.
        weights: (1 + resample, n).
    """
    names = shared(drawn, real)
    pairs = [name for name in names if drawn[name].measure == "AUROC"]
    mean = mean_real = ratio = NOT_KNOWN
    if pairs:
        ours, theirs = (
            mean_over([part[name].statistic(weights) for name in pairs]) for part in (drawn, real)
        )
        mean, mean_real, ratio = (estimate(v) for v in (ours, theirs, divided(ours, theirs)))
    return Control(
        asked=asked,
        num_samples=weights.shape[1],
        attributes=tuple(_compare(drawn[name], real[name], weights) for name in names),
        mean_drawn=mean,
        mean_real=mean_real,
        mean_ratio=ratio,
    )


def half_open(
    rows: NDArray[np.float32], schema: Schema, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Conditions in which each attribute is left out with a chance of one half."""
    left_out = generator.random(rows.shape) < 0.5
    return np.where(left_out, schema.null_row(), rows).astype(np.float32)


def _compare(drawn: Reading, real: Reading, weights: Weights) -> AttributeControl:
    ours, theirs = drawn.statistic(weights), real.statistic(weights)
    lower_is_better = drawn.measure == "years of error"
    return AttributeControl(
        attribute=drawn.attribute,
        measure=drawn.measure,
        num_known=drawn.num_known,
        num_positive=drawn.num_positive,
        chance=drawn.chance,
        drawn=estimate(ours),
        real=estimate(theirs),
        ratio=estimate(divided(theirs, ours) if lower_is_better else divided(ours, theirs)),
    )


def _strength(measured: Control) -> str:
    """What the numbers mean."""
    ratio = measured.mean_ratio.interval
    if measured.mean_drawn.interval.low <= 0.5:
        return "that samples follow no condition at all cannot be ruled out."
    if ratio.low > 1:
        return (
            "samples show what was asked for more plainly than patients do; less guidance would do."
        )
    if ratio.high < 1:
        return "samples show what was asked for less plainly."
    return "at this number of samples no difference can be told."

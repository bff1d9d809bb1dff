"""Whether samples can stand in for radiographs in training: train on synthetic, test on real (TSTR).

One classifier learns from samples, one from the real radiographs whose conditions were asked for (TRTR), and
one from both. They differ in the pictures alone: conditions, number of steps and seed are the same. All are
tested on held-out patients' real radiographs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from synthesis.evaluation.estimate import (
    NOT_KNOWN,
    Estimate,
    Weights,
    divided,
    estimate,
    mean_over,
)
from synthesis.evaluation.reading import Reading

TrainedOn = Literal["synthetic", "real", "both"]
WAYS: tuple[TrainedOn, ...] = get_args(TrainedOn)
Readings = Mapping[TrainedOn, Mapping[str, Reading]]
"""What each classifier reads of the same real radiographs."""

FEW = 1000
"""Radiographs below which a classifier from scratch stays weak."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributeUtility:
    """AUROC of one attribute on real held-out radiographs."""

    attribute: str
    num_known: int
    num_positive: int | None
    synthetic: Estimate
    real: Estimate
    both: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Utility:
    """All attributes with two values."""

    num_training: int
    """Radiographs that a classifier learned from; for both, twice as many."""

    num_test: int
    attributes: tuple[AttributeUtility, ...]
    synthetic: Estimate
    """Mean AUROC."""

    real: Estimate
    both: Estimate
    ratio: Estimate
    """Synthetic over real: TSTR over TRTR."""

    gain: Estimate
    """What adding samples to the real radiographs changes: AUROC of both minus that of real."""

    @property
    def verdict(self) -> str:
        """In plain words."""
        if not self.attributes:
            return "Nothing could be measured: too few radiographs of every value are known."
        small = (
            " With so few to learn from all classifiers are weak: compare them, not their numbers."
            if self.num_training < FEW
            else ""
        )
        return (
            f"A classifier trained on {self.num_training} samples reaches a mean AUROC of {self.synthetic} on "
            f"real held-out radiographs, one trained on {self.num_training} real radiographs {self.real}. "
            f"{_gain(self.gain)}{small}"
        )


def utility(readings: Readings, weights: Weights, *, num_training: int) -> Utility:
    """Compare the three classifiers.

    Args:
        readings: of n real held-out radiographs by each classifier, against the truth.
        weights: (1 + resample, n).
        num_training: samples that the first classifier learned from.
    """
    names = [name for name in readings["real"] if _has_area(name, readings)]
    synthetic = real = both = ratio = gain = NOT_KNOWN
    if names:
        on_synthetic, on_real, on_both = (
            mean_over([readings[way][name].statistic(weights) for name in names]) for way in WAYS
        )
        synthetic, real, both = (estimate(values) for values in (on_synthetic, on_real, on_both))
        ratio, gain = estimate(divided(on_synthetic, on_real)), estimate(on_both - on_real)
    return Utility(
        num_training=num_training,
        num_test=weights.shape[1],
        attributes=tuple(_attribute(name, readings, weights) for name in names),
        synthetic=synthetic,
        real=real,
        both=both,
        ratio=ratio,
        gain=gain,
    )


def _has_area(name: str, readings: Readings) -> bool:
    """Whether every classifier has learned the attribute, of two values."""
    of_each = [readings[way].get(name) for way in WAYS]
    return all(reading is not None and reading.measure == "AUROC" for reading in of_each)


def _attribute(name: str, readings: Readings, weights: Weights) -> AttributeUtility:
    synthetic, real, both = (estimate(readings[way][name].statistic(weights)) for way in WAYS)
    one = readings["real"][name]
    return AttributeUtility(
        attribute=name,
        num_known=one.num_known,
        num_positive=one.num_positive,
        synthetic=synthetic,
        real=real,
        both=both,
    )


def _gain(gain: Estimate) -> str:
    if gain.interval.low > 0:
        return f"Adding samples to the real radiographs helps: {gain}."
    if gain.interval.high < 0:
        return f"Adding samples to the real radiographs harms: {gain}."
    return f"Whether adding samples to the real radiographs helps cannot be told: {gain}."

"""What a classifier is worth in a group of radiographs, and whether it is worth less there than in the rest."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.auroc import auroc
from model.evaluation.bootstrap import (
    Interval,
    bootstrap_interval,
    percentile_interval,
    resamples,
)
from synthesis.proportions import Share, share

MATERIAL = 0.05
"""Difference below which nothing is said, however certain it is."""

RESAMPLES_PER_COMPARISON = 100
"""The more comparisons, the farther out the ends of an interval, and the more resamples they need."""

Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scored:
    """n radiographs of as many patients, the truth and what the classifier made of them."""

    scores: NDArray[np.float64]
    sees: NDArray[np.bool_]
    """Whether the score counts as seeing the finding."""

    present: NDArray[np.bool_]
    """The truth; of a generated radiograph, what was asked for."""

    def take(self, chosen: NDArray[np.bool_] | Places) -> "Scored":
        """Some of them."""
        return Scored(
            scores=self.scores[chosen],
            sees=self.sees[chosen],
            present=self.present[chosen],
        )

    def holds(self, num_each: int) -> bool:
        """Whether as many radiographs with and as many without the finding are there."""
        return min(int(self.present.sum()), int((~self.present).sum())) >= num_each


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """The usual three, with 95 % intervals."""

    num_present: int
    num_absent: int
    auroc: float
    auroc_interval: Interval
    sensitivity: Share
    specificity: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Excess:
    """How far one number lies above another."""

    value: float
    interval: Interval
    """So wide that all of a table together are covered with 95 %."""

    @property
    def is_below(self) -> bool:
        """Whether it is negative, by an amount that matters and is not chance."""
        return self.value <= -MATERIAL and self.interval.high < 0

    @property
    def is_above(self) -> bool:
        """Whether it is positive, by an amount that matters and is not chance."""
        return self.value >= MATERIAL and self.interval.low > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """One measure in a group, compared with the same in the rest."""

    measure: str
    gap: Excess
    """In the group minus in the rest."""

    reference: float | None
    """The reference's gap on the same radiographs; None without a reference."""

    @property
    def is_concern(self) -> bool:
        """Whether the group is worse off."""
        return self.gap.is_below

    @property
    def is_shared(self) -> bool:
        """Whether the reference has at least half of the gap, so that the radiographs may be to blame."""
        return self.reference is not None and self.reference <= self.gap.value / 2


def figures(scored: Scored, *, seed: int) -> Figures:
    """Measure one group."""
    present = scored.present
    return Figures(
        num_present=int(present.sum()),
        num_absent=int((~present).sum()),
        auroc=_auroc(scored),
        auroc_interval=bootstrap_interval(
            lambda places: _auroc(scored.take(places)),
            np.arange(len(present)),
            generator=np.random.default_rng(seed),
        ),
        sensitivity=share(int((scored.sees & present).sum()), int(present.sum())),
        specificity=share(int((~scored.sees & ~present).sum()), int((~present).sum())),
    )


def gaps(
    scored: Scored,
    reference: Scored | None,
    groups: Mapping[str, NDArray[np.bool_]],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, tuple[Gap, ...]]:
    """Every group against the rest in every measure; all on the same resamples.

    Args:
        scored: all radiographs, n.
        reference: the same radiographs, judged by the reference.
        groups: label -> which of the n belong to it.
        num_resamples: of the intervals, at the least; these are widened for the number of comparisons (Bonferroni).
        seed: of the resamples.
    """
    everything = np.arange(len(scored.scores))
    num_drawn = max(num_resamples, RESAMPLES_PER_COMPARISON * len(groups) * len(MEASURES))
    drawn = [everything, *resamples(everything, np.random.default_rng(seed), num_drawn)]
    values = np.array([_differences(scored, groups, places) for places in drawn])
    confidence = 1 - 0.05 / max(1, values[0].size)
    beside = None if reference is None else _differences(reference, groups, everything)
    return {
        label: tuple(
            Gap(
                measure=name,
                gap=Excess(
                    value=float(values[0, row, column]),
                    interval=percentile_interval(values[1:, row, column], confidence),
                ),
                reference=None if beside is None else float(beside[row, column]),
            )
            for column, name in enumerate(MEASURES)
        )
        for row, label in enumerate(groups)
    }


def _auroc(scored: Scored) -> float:
    return auroc(scored.scores, scored.present)


def _sensitivity(scored: Scored) -> float:
    found = scored.sees[scored.present]
    return float(found.mean()) if len(found) else math.nan


def _specificity(scored: Scored) -> float:
    passed = ~scored.sees[~scored.present]
    return float(passed.mean()) if len(passed) else math.nan


MEASURES: dict[str, Callable[[Scored], float]] = {
    "AUROC": _auroc,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
}


def _differences(
    scored: Scored, groups: Mapping[str, NDArray[np.bool_]], places: Places
) -> NDArray[np.float64]:
    """(group, measure): in the group minus in the rest, on some of the radiographs."""
    drawn = scored.take(places)
    rows = []
    for in_group in groups.values():
        members, rest = drawn.take(in_group[places]), drawn.take(~in_group[places])
        rows.append([measure(members) - measure(rest) for measure in MEASURES.values()])
    return np.array(rows, dtype=np.float64).reshape(len(groups), len(MEASURES))

"""Distances of two sets of features, and the halves that real radiographs are cut into to compare with themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import Interval, percentile_interval, resamples
from model.evaluation.frechet import frechet
from model.evaluation.kernel_distance import kernel_distance, kernel_distance_of_all
from model.evaluation.prdc import PRDC, prdc
from synthesis.evaluation.plan import Plan

Features = NDArray[np.float32]
"""(n, feature)."""

Patients = NDArray[np.int64]

NUM_NEIGHBOURS = 5
NUM_SUBSETS = 50
MAX_SUBSET = 1000
"""Records of which a kernel distance is taken at once, many times over."""

WIDE = 256
"""Features from which on a Frechet distance takes so long that a quarter of the resamples must do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Distances:
    """Of one set from another."""

    frechet: float
    kernel: float
    """Unbiased, so that it may fall a little below 0."""

    prdc: PRDC
    """Precision, recall, density, coverage, by five neighbours."""


def distances(real: Features, other: Features, plan: Plan) -> Distances:
    """All of them."""
    return Distances(
        frechet=frechet(real, other),
        kernel=_kernel(real, other, plan),
        prdc=prdc(real, other, k=NUM_NEIGHBOURS),
    )


def mean_distances(parts: Sequence[Distances]) -> Distances:
    """Mean of each."""
    names = ("precision", "recall", "density", "coverage")
    return Distances(
        frechet=float(np.mean([part.frechet for part in parts])),
        kernel=float(np.mean([part.kernel for part in parts])),
        prdc=PRDC(
            **{name: float(np.mean([getattr(part.prdc, name) for part in parts])) for name in names}
        ),
    )


def halves(
    patients: Patients, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the records of either half of the patients, in random order and as many in both."""
    order = generator.permutation(np.unique(patients))
    first = np.isin(patients, order[: len(order) // 2])
    one, other = (generator.permutation(np.flatnonzero(part)) for part in (first, ~first))
    size = min(len(one), len(other))
    return one[:size], other[:size]


def frechet_interval(
    value: float,
    real: Features,
    other: Features,
    patients: tuple[Patients, Patients],
    plan: Plan,
) -> Interval:
    """Interval of a Frechet distance, by resampling the patients of both sets.

    A resample repeats records, which makes a distance larger than that of as many different records; so only
    the spread of the resamples is used, moved to the value.
    """
    values = np.array(
        [frechet(real[one], other[two]) for one, two in _resampled(patients, real.shape[1], plan)]
    )
    around = percentile_interval(values - values.mean() + value)
    return Interval(low=max(0.0, around.low), high=around.high)


def excess_interval(
    excess: float,
    real: Features,
    drawn_and_others: tuple[Features, Features],
    patients: tuple[Patients, Patients],
    plan: Plan,
) -> Interval:
    """Interval of what samples' distance has over other real radiographs', by resampling both alike.

    Args:
        excess: the difference itself.
        real: features of one half of the real radiographs.
        drawn_and_others: of samples with the other half's conditions, and of the other half.
        patients: of either half.
        plan: seed and number of resamples.
    """
    drawn, others = drawn_and_others
    values = np.array(
        [
            frechet(real[one], drawn[two]) - frechet(real[one], others[two])
            for one, two in _resampled(patients, real.shape[1], plan)
        ]
    )
    return percentile_interval(values - values.mean() + excess)


def _resampled(
    patients: tuple[Patients, Patients], num_features: int, plan: Plan
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places in either set."""
    count = max(2, plan.num_resamples // 4 if num_features >= WIDE else plan.num_resamples)
    sides = (
        resamples(who, np.random.default_rng([plan.seed, side]), count)
        for side, who in enumerate(patients)
    )
    return zip(*sides, strict=True)


def _kernel(real: Features, other: Features, plan: Plan) -> float:
    """On many subsets; on the whole sets at once in the published protocol."""
    if plan.protocol == "chexgenbench":
        return kernel_distance_of_all(real, other)
    size = min(MAX_SUBSET, len(real), len(other))
    num_subsets = NUM_SUBSETS if size == MAX_SUBSET else 1
    generator = np.random.default_rng(plan.seed)
    found = kernel_distance(
        real, other, generator=generator, subset_size=size, num_subsets=num_subsets
    )
    return found.value

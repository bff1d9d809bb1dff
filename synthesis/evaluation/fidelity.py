"""How near samples lie to real radiographs, in the features of an encoder: pooled, and view by view.

Real radiographs are cut into two halves, no patient in both. One half is compared with the other, and with
samples that have the conditions of the other: the same comparison but for the pictures. So the first distance is
what a perfect model would score, at the same N; both are means over several cuts. The distances depend on N and
on the encoder, and compare with nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conditioning import VIEWS, Schema
from model.evaluation.bootstrap import Interval
from model.evaluation.encoders.encoder import Encoder
from model.evaluation.frechet import frechet_infinite
from model.evaluation.prdc import PRDC
from synthesis.evaluation.distances import (
    Distances,
    Features,
    distances,
    excess_interval,
    frechet_interval,
    halves,
    mean_distances,
)
from synthesis.evaluation.drawn import OnProgress
from synthesis.evaluation.estimate import Estimate
from synthesis.evaluation.plan import Plan
from synthesis.evaluation.radiographs import Radiographs

NUM_CUTS = 4
ALL = "all views"
FEATURES_PER_RECORD = 3
"""Records per feature below which a covariance is mostly chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Closeness:
    """Of one group of radiographs."""

    group: str
    num_each: int
    """N: records on each side of a comparison."""

    drawn: Distances
    """Real radiographs against samples."""

    frechet_interval: Interval
    """Of the Frechet distance in ``drawn``."""

    real: Distances
    """Real radiographs against other real ones: the floor."""

    excess: Estimate
    """Frechet distance of samples minus that of real radiographs; around 0 for a perfect model."""

    frechet_infinite: float
    """Frechet distance of samples, extrapolated to infinitely many records."""

    num_all: int
    all_drawn: Distances
    """All real radiographs against all samples, which have the same conditions: as published tables do."""

    all_frechet_interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """By one encoder."""

    encoder: str
    num_features: int
    groups: tuple[Closeness, ...]
    """The first of all radiographs, then by view."""

    left_out: tuple[str, ...]
    """Views with too few radiographs."""

    @property
    def verdict(self) -> str:
        """In plain words."""
        pooled = self.groups[0]
        interval, size = pooled.frechet_interval, pooled.num_each
        few = (
            f" N is small for {self.num_features} features: read the distance against the floor, not by itself."
            if size < FEATURES_PER_RECORD * self.num_features
            else ""
        )
        return (
            f"The Frechet distance of samples is {pooled.drawn.frechet:.4g} at N = {size}, 95 % interval "
            f"{interval.low:.4g} to {interval.high:.4g}; that of real radiographs from other patients is "
            f"{pooled.real.frechet:.4g}. {_distance(pooled)} {_range(pooled.drawn.prdc, pooled.real.prdc)}{few}"
        )


def features_of(
    encoder: Encoder, radiographs: Radiographs, what: str, on_progress: OnProgress
) -> NDArray[np.float32]:
    """Features (n, feature) of radiographs, a few at a time."""
    parts, done = [], 0
    for images in radiographs.batches():
        parts.append(encoder.features(images).astype(np.float32))
        done += len(images)
        on_progress(what, done, len(radiographs))
    return np.concatenate(parts)


def fidelity(
    encoder: Encoder,
    real: tuple[Radiographs, Features],
    drawn: Features,
    schema: Schema,
    plan: Plan,
) -> Fidelity:
    """Compare features.

    Args:
        encoder: that made them.
        real: n held-out radiographs, and their features.
        drawn: features of the n samples with the same conditions, in the same order.
        schema: what the conditions' columns are.
        plan: seed, smallest group, resamples, protocol.
    """
    radiographs, features = real
    groups, left_out = [], []
    for name, members in _groups(radiographs.rows, schema):
        if name != ALL and members.sum() < plan.min_cell:
            left_out.append(f"{name} ({members.sum()})")
            continue
        part = (features[members], drawn[members], radiographs.patients[members])
        groups.append(closeness(name, *part, plan))
    return Fidelity(
        encoder=encoder.name,
        num_features=encoder.num_features,
        groups=tuple(groups),
        left_out=tuple(left_out),
    )


def closeness(
    name: str, real: Features, drawn: Features, patients: NDArray[np.int64], plan: Plan
) -> Closeness:
    """All distances of one group; ``real`` and ``drawn`` are paired by condition."""
    generator = np.random.default_rng(plan.seed)
    cuts = [halves(patients, generator) for _ in range(NUM_CUTS)]
    ours = mean_distances([distances(real[one], drawn[other], plan) for one, other in cuts])
    floor = mean_distances([distances(real[one], real[other], plan) for one, other in cuts])
    one, other = cuts[0]
    who = (patients[one], patients[other])
    everything = distances(real, drawn, plan)
    excess = ours.frechet - floor.frechet
    spread = excess_interval(excess, real[one], (drawn[other], real[other]), who, plan)
    return Closeness(
        group=name,
        num_each=len(one),
        drawn=ours,
        frechet_interval=frechet_interval(ours.frechet, real[one], drawn[other], who, plan),
        real=floor,
        excess=Estimate(value=excess, interval=spread),
        frechet_infinite=frechet_infinite(real, drawn, generator=np.random.default_rng(plan.seed)),
        num_all=len(real),
        all_drawn=everything,
        all_frechet_interval=frechet_interval(
            everything.frechet, real, drawn, (patients, patients), plan
        ),
    )


def _groups(rows: NDArray[np.float32], schema: Schema) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Everything, then every view that occurs."""
    yield ALL, np.ones(len(rows), dtype=bool)
    views = rows[:, schema.names.index("view")]
    for number, view in enumerate(VIEWS, start=1):
        if (views == number).any():
            yield view, views == number


def _distance(pooled: Closeness) -> str:
    if pooled.excess.interval.low <= 0:
        return "By this distance samples cannot be told from real radiographs at this N."
    times = pooled.drawn.frechet / pooled.real.frechet
    return (
        f"Samples are {times:.1f} times as far from real radiographs as these are from each other."
    )


def _range(ours: PRDC, real: PRDC) -> str:
    """Whether samples leave, or miss, part of what is real."""
    lower = [
        f"{name} {value:.2f} against {best:.2f}"
        for name, value, best in (
            ("precision", ours.precision, real.precision),
            ("recall", ours.recall, real.recall),
            ("coverage", ours.coverage, real.coverage),
        )
        if value < 0.9 * best
    ]
    if not lower:
        return "Precision, recall and coverage are those of real radiographs."
    return f"Below real radiographs: {', '.join(lower)}."

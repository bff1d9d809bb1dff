"""Quality against the number of sampling steps, for both ways to walk, with the time that each takes.

A model distilled from the one under test can stand on the same curve.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.conditioning import Schema
from model.evaluation.bootstrap import Interval
from model.evaluation.encoders.encoder import Encoder
from model.evaluation.frechet import frechet
from model.evaluation.probe import Probe
from model.sampler import Method, Sampling
from synthesis.evaluation.distances import Features, frechet_interval, halves
from synthesis.evaluation.drawn import Studio, drawn_like
from synthesis.evaluation.estimate import (
    NOT_KNOWN,
    Estimate,
    estimate,
    mean_over,
    patient_weights,
)
from synthesis.evaluation.plan import Plan
from synthesis.evaluation.probing import read
from synthesis.evaluation.radiographs import Radiographs

STEPS = (1, 2, 4, 8, 16, 32)
MAX_SAMPLES = 100
MODEL, STUDENT = "model", "student"


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """One way to walk."""

    model: str
    """Which of the contenders drew."""

    method: Method
    num_steps: int
    frechet: float
    """Of real radiographs from samples for other patients' conditions."""

    interval: Interval
    control: Estimate
    """Mean AUROC of what a probe reads back."""

    seconds: float
    """For one radiograph."""

    relative_seconds: float
    """Against one step of Euler."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepsCurve:
    """All ways to walk, with the same noise and conditions."""

    num_samples: int
    """N, on either side of a distance."""

    floor: float
    """Frechet distance of the same real radiographs from those other patients' own."""

    guidance: float
    encoder: str
    points: tuple[CurvePoint, ...]

    @property
    def verdict(self) -> str:
        """In plain words."""
        best = min(self.points, key=lambda point: point.frechet)
        enough = min(
            (p for p in self.points if p.frechet <= best.interval.high),
            key=lambda point: point.relative_seconds,
        )
        return (
            f"{_named(enough)} are enough: Frechet distance "
            f"{enough.frechet:.3g} at N = {self.num_samples}, floor {self.floor:.3g}, where the best, "
            f"{_named(best)}, has {best.frechet:.3g} and takes "
            f"{best.relative_seconds / enough.relative_seconds:.1f} times as long."
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Contender:
    """A model on the curve."""

    name: str
    studio: Studio
    sampling: Sampling
    """How it is usually sampled; a distilled model has its guidance inside."""

    methods: tuple[Method, ...]
    """A distilled model has learned the steps of Euler only."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judges:
    """What looks at samples."""

    encoder: Encoder
    probe: Probe
    schema: Schema


def steps_curve(
    contenders: Sequence[Contender],
    real: Radiographs,
    features: Features,
    judges: Judges,
    plan: Plan,
) -> StepsCurve:
    """Draw the same conditions in every way.

    Args:
        contenders: the model under test first.
        real: held-out radiographs; one half of the patients gives the conditions, the other is compared with.
        features: of all of them.
        judges: the encoder that made the features, and the probe.
        plan: seed.
    """
    one, other = (
        half[:MAX_SAMPLES] for half in halves(real.patients, np.random.default_rng(plan.seed))
    )
    reference, asked = (features[one], real.patients[one]), real.take(other)
    points: list[CurvePoint] = []
    for contender, sampling in _ways(contenders):
        drawn, seconds = _timed(contender, asked, sampling, plan.seed)
        point = _judged(drawn, sampling, reference, judges, plan)
        first = points[0].seconds if points else seconds
        points.append(
            replace(
                point,
                model=contender.name,
                seconds=seconds,
                relative_seconds=seconds / first,
            )
        )
    return StepsCurve(
        num_samples=len(asked),
        floor=frechet(features[one], features[other]),
        guidance=contenders[0].sampling.guidance.scale,
        encoder=judges.encoder.name,
        points=tuple(points),
    )


def _named(point: CurvePoint) -> str:
    """One way to walk, in words."""
    whose = "" if point.model == MODEL else f" with the {point.model}"
    return f"{point.num_steps} steps of {point.method}{whose}"


def _ways(contenders: Sequence[Contender]) -> Iterator[tuple[Contender, Sampling]]:
    """One step of Heun is one of Euler."""
    for contender in contenders:
        for method in contender.methods:
            for num_steps in STEPS:
                if method == "euler" or num_steps > 1:
                    way = replace(contender.sampling, method=method, num_steps=num_steps)
                    yield contender, way


def _timed(
    contender: Contender, asked: Radiographs, sampling: Sampling, seed: int
) -> tuple[Radiographs, float]:
    """Samples, and the seconds that one took."""
    started = time.perf_counter()
    what = f"{contender.name} {sampling.num_steps} steps of {sampling.method}"
    drawn = contender.studio.draw(what, asked.rows, seed=seed, sampling=sampling)
    return drawn_like(asked, drawn), (time.perf_counter() - started) / len(asked)


def _judged(
    samples: Radiographs,
    sampling: Sampling,
    reference: tuple[Features, NDArray[np.int64]],
    judges: Judges,
    plan: Plan,
) -> CurvePoint:
    """A point without whose it is and its seconds."""
    real, patients = reference
    found = np.concatenate([judges.encoder.features(images) for images in samples.batches()])
    value = frechet(real, found)
    return CurvePoint(
        model=MODEL,
        method=sampling.method,
        num_steps=sampling.num_steps,
        frechet=value,
        interval=frechet_interval(value, real, found, (patients, samples.patients), plan),
        control=_control(judges, samples, plan),
        seconds=0.0,
        relative_seconds=0.0,
    )


def _control(judges: Judges, samples: Radiographs, plan: Plan) -> Estimate:
    weights = patient_weights(
        samples.patients,
        num_resamples=plan.num_resamples,
        generator=np.random.default_rng(plan.seed),
    )
    found = read(judges.probe, samples, judges.schema).values()
    areas = [reading.statistic(weights) for reading in found if reading.measure == "AUROC"]
    return estimate(mean_over(areas)) if areas else NOT_KNOWN

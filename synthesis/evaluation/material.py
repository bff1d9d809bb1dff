"""What every section of an evaluation looks at: the real radiographs, and the samples drawn to stand beside them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthesis.evaluation.chexgenbench import first_of_each
from synthesis.evaluation.control import half_open
from synthesis.evaluation.diversity import NUM_EACH, some_places
from synthesis.evaluation.drawn import Studio, drawn_like
from synthesis.evaluation.hospitals import Hospitals, TooFewHeldOut
from synthesis.evaluation.plan import MIN_RECORDS, Plan
from synthesis.evaluation.probing import MAX_TRAINING
from synthesis.evaluation.radiographs import Radiographs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chosen:
    """Real radiographs; random ones, in random order."""

    held_out: Radiographs
    """That samples are compared with, and whose conditions they have."""

    training: Radiographs
    """Whose conditions other samples have, to train classifiers on either."""

    for_probe: Radiographs
    """Training radiographs that the probe learns from."""

    num_repeated_conditions: int
    """Held-out radiographs that the published protocol drops."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """Drawn radiographs."""

    held_out: Radiographs
    """For the conditions of held-out radiographs, in their order."""

    training: Radiographs
    """For the conditions of training radiographs, in their order."""

    half_open: Radiographs
    """For the conditions of held-out radiographs, half of whose attributes were left out."""

    repeated: Radiographs
    """Several for each of some held-out radiographs' conditions."""

    repeated_places: NDArray[np.int64]
    """Places of those among the held-out radiographs."""


def choose(hospitals: Hospitals, plan: Plan) -> Chosen:
    """Draw the real radiographs that are looked at.

    Raises:
        TooFewHeldOut: too few held-out radiographs have conditions of their own, in the published protocol.
    """
    generator = np.random.default_rng(plan.seed)
    held_out, num_repeated = hospitals.held_out, 0
    if plan.protocol == "chexgenbench":
        different = held_out.take(first_of_each(held_out.rows))
        num_repeated, held_out = len(held_out) - len(different), different
        if len(held_out) < MIN_RECORDS:
            raise TooFewHeldOut(len(held_out))
    return Chosen(
        held_out=_some(held_out, plan.num_samples, generator),
        training=_some(hospitals.training, min(plan.num_samples, MAX_TRAINING), generator),
        for_probe=_some(hospitals.training, MAX_TRAINING, generator),
        num_repeated_conditions=num_repeated,
    )


def draw_all(studio: Studio, chosen: Chosen, plan: Plan) -> Samples:
    """Draw what the sections need; each set has noise of its own."""
    held_out, schema = chosen.held_out, studio.generator.schema
    generator = np.random.default_rng(plan.seed)
    half = held_out.take(np.arange(-(-len(held_out) // 2)))
    half_rows = half_open(half.rows, schema, generator)
    places = some_places(len(held_out), generator)
    again = held_out.take(np.repeat(places, NUM_EACH))
    names = ("samples", "training samples", "half-open samples", "repeated samples")
    all_rows = (held_out.rows, chosen.training.rows, half_rows, again.rows)
    sources = [
        studio.draw(name, rows, seed=plan.seed + number, sampling=plan.sampling)
        for number, (name, rows) in enumerate(zip(names, all_rows, strict=True))
    ]
    return Samples(
        held_out=drawn_like(held_out, sources[0]),
        training=drawn_like(chosen.training, sources[1]),
        half_open=drawn_like(half, sources[2]),
        repeated=drawn_like(again, sources[3]),
        repeated_places=places,
    )


def _some(radiographs: Radiographs, count: int, generator: np.random.Generator) -> Radiographs:
    return radiographs.take(generator.permutation(len(radiographs))[:count])

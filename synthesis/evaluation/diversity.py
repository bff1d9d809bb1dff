"""Whether one condition gives many radiographs or always the same: likeness of pairs, by MS-SSIM.

Pairs of samples for patients of one sex and view, beside pairs of real radiographs of such patients: samples
that are more alike lack variety. Pairs of one condition in all its attributes stand beside them; no two real
patients share one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conditioning import Schema
from model.evaluation.bootstrap import percentile_interval, resamples
from model.evaluation.ms_ssim import ms_ssim
from synthesis.evaluation.estimate import NOT_KNOWN, Estimate
from synthesis.evaluation.radiographs import BATCH, Radiographs

NUM_CONDITIONS = 12
NUM_EACH = 6
NUM_PAIRS = 300
NUM_TRIED = 40 * NUM_PAIRS
NUM_RESAMPLES = 200
Pairs = NDArray[np.int64]
"""(pair, 2), places of two different pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diversity:
    """Mean likeness of pairs, 1 for equal pictures; the lower, the more varied."""

    num_conditions: int
    num_each: int
    same_condition: Estimate
    """Of samples of one condition."""

    similar: Estimate
    """Of samples for different patients of one sex and view."""

    real_similar: Estimate
    """Of real radiographs of different patients of one sex and view."""

    real: Estimate
    """Of real radiographs of any two patients."""

    @property
    def verdict(self) -> str:
        """In plain words."""
        ours, real = self.similar, self.real_similar
        if np.isnan(ours.value) or np.isnan(real.value):
            return "Too few radiographs are alike in sex and view to compare."
        if ours.interval.low > real.interval.high:
            judged = "more alike than"
        elif ours.interval.high < real.interval.low:
            judged = "more varied than"
        else:
            judged = "as varied as"
        return (
            f"Samples for patients of one sex and view are {judged} real radiographs of such patients: "
            f"likeness {ours} against {real}. Drawn again for one condition, it is {self.same_condition}."
        )


def some_places(num_conditions: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Places of the conditions for which several samples are drawn."""
    return generator.permutation(num_conditions)[:NUM_CONDITIONS]


def diversity(
    same: Radiographs,
    samples: Radiographs,
    real: Radiographs,
    schema: Schema,
    generator: np.random.Generator,
) -> Diversity:
    """Compare pairs.

    Args:
        same: ``NUM_EACH`` samples of each of some conditions, one condition after the other.
        samples: drawn for the conditions of ``real``.
        real: held-out radiographs.
        schema: what the conditions' columns are.
        generator: of pairs and resamples.
    """
    anybody, similar = _pairs(real, schema, generator)
    return Diversity(
        num_conditions=len(same) // NUM_EACH,
        num_each=NUM_EACH,
        same_condition=_mean(same, _of_one_condition(len(same)), generator),
        similar=_mean(samples, similar, generator),
        real_similar=_mean(real, similar, generator),
        real=_mean(real, anybody, generator),
    )


def _of_one_condition(num_pictures: int) -> Pairs:
    """Every pair of repetitions."""
    first, second = np.triu_indices(NUM_EACH, k=1)
    starts = np.arange(0, num_pictures, NUM_EACH)[:, None]
    return np.stack([(starts + first).ravel(), (starts + second).ravel()], axis=1)


def _pairs(
    real: Radiographs, schema: Schema, generator: np.random.Generator
) -> tuple[Pairs, Pairs]:
    """Random pairs of different patients, and those of one sex and view."""
    pairs = generator.integers(len(real), size=(NUM_TRIED, 2))
    pairs = pairs[real.patients[pairs[:, 0]] != real.patients[pairs[:, 1]]]
    columns = [schema.names.index(name) for name in ("sex", "view")]
    first, second = (real.rows[pairs[:, side]][:, columns] for side in (0, 1))
    alike = ((first == second) & (first > 0)).all(axis=1)
    return pairs[:NUM_PAIRS], pairs[alike][:NUM_PAIRS]


def _mean(pictures: Radiographs, pairs: Pairs, generator: np.random.Generator) -> Estimate:
    """Mean over pairs; pairs that share their first picture are resampled together."""
    if not len(pairs):
        return NOT_KNOWN
    starts = range(0, len(pairs), BATCH)
    values = np.concatenate([_likeness(pictures, pairs[i : i + BATCH]) for i in starts])
    spread = [values[places].mean() for places in resamples(pairs[:, 0], generator, NUM_RESAMPLES)]
    return Estimate(value=float(values.mean()), interval=percentile_interval(np.array(spread)))


def _likeness(pictures: Radiographs, pairs: Pairs) -> NDArray[np.floating]:
    one, other = (pictures.source.batch(pictures.places[pairs[:, side]])[0] for side in (0, 1))
    return ms_ssim(one, other)

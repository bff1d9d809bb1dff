"""A Frechet distance with what it takes to read it: N, the floor, an interval, and its limit for large N.

A resample repeats records, which makes a Frechet distance larger than that of as many different records. Only the
spread of the resamples is of use, so the interval is that of the resamples moved to the value.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from model.evaluation.bootstrap import Interval, percentile_interval, resamples
from model.evaluation.features import Features, check_features
from model.evaluation.frechet import frechet, frechet_infinite

NUM_SPLITS = 4
"""Ways to halve the real set; value and floor are means over them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrechetReport:
    """Distance of real and synthetic radiographs, and that of real and real ones at the same N."""

    value: float
    num_real: int
    """Records of each half of the real set that one distance was taken of, on average."""
    num_synthetic: int
    """Synthetic records that one distance was taken of, on average; equals num_real."""
    floor: float
    """Distance of two halves of the real set, no patient in both: what a perfect model would score."""
    interval: Interval
    """95 % interval of the value."""
    extrapolated: float
    """For infinitely many records, of all records."""


def frechet_report(
    real: Features,
    synthetic: Float[np.ndarray, "other feature"],
    *,
    patients: Shaped[np.ndarray, " record"],
    generator: np.random.Generator,
    num_resamples: int = 200,
) -> FrechetReport:
    """Measure value and floor at one N, which half of the real records or all synthetic ones limit.

    Args:
        real: features of real radiographs.
        synthetic: features of generated ones.
        patients: whose each real record is; ``np.arange(n)`` where each stands alone.
        generator: of splits and resamples.
        num_resamples: of the bootstrap.

    Raises:
        FeaturesUnusable: too few records, or values that are not finite.
    """
    check_features(real, synthetic, min_records=6)
    splits = [
        _at_one_size(real, synthetic, halves, generator) for halves in _halves(patients, generator)
    ]
    value, floor, mean_size = (float(mean) for mean in np.mean(splits, axis=0))
    size = round(mean_size)
    resampled = np.array(
        [
            frechet(real[places[:size]], synthetic[generator.integers(len(synthetic), size=size)])
            for places in resamples(patients, generator, num_resamples)
        ]
    )
    return FrechetReport(
        value=value,
        num_real=size,
        num_synthetic=size,
        floor=floor,
        interval=percentile_interval(resampled - resampled.mean() + value),
        extrapolated=frechet_infinite(real, synthetic, generator=generator),
    )


def _at_one_size(
    real: Features,
    synthetic: Float[np.ndarray, "other feature"],
    halves: tuple[NDArray[np.int64], NDArray[np.int64]],
    generator: np.random.Generator,
) -> tuple[float, float, int]:
    """Distance of half of the real records to synthetic ones and to the other half, and their number."""
    one, other = halves
    size = min(len(one), len(other), len(synthetic))
    here, drawn = real[one[:size]], generator.permutation(synthetic)[:size]
    return frechet(here, drawn), frechet(here, real[other[:size]]), size


def _halves(
    patients: Shaped[np.ndarray, " record"], generator: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of the records of either half of the patients, in random order."""
    different = np.unique(patients)
    for _ in range(NUM_SPLITS):
        chosen = generator.permutation(different)[: len(different) // 2]
        first = np.isin(patients, chosen)
        yield (
            generator.permutation(np.flatnonzero(first)),
            generator.permutation(np.flatnonzero(~first)),
        )

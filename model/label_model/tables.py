"""One hospital's counts as numbers to fit a label model to.

What left a hospital is rounded, noised or withheld. A count that was rounded down to a multiple of ``min_cell`` is
taken to have been in the middle of its step; one that was withheld, to be what it would be if nothing were known of
it but the counts around it, and below ``min_cell``. Noise is left as it is: it has mean 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Arrow = tuple[str, str]
"""Parent and child."""


def filled(
    counts: Float[np.ndarray, " value"], *, total: float, min_cell: int, is_noised: bool
) -> Float[np.ndarray, " value"]:
    """Counts by one attribute as they most likely were.

    Args:
        counts: NaN for a count that was withheld.
        total: Patients in all.
        min_cell: Smaller counts were withheld; without noise, others were rounded down to a multiple of it.
        is_noised: Whether they carry noise.
    """
    half_step = (min_cell - 1) / 2
    given = counts + (0.0 if is_noised else half_step)
    is_withheld = np.isnan(counts)
    left = max(total - float(np.nansum(given)), 0.0)
    return np.where(is_withheld, min(half_step, left / max(int(is_withheld.sum()), 1)), given)


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteTables:
    """What one hospital gave."""

    num_patients: float
    counts: Mapping[str, Float[np.ndarray, " value"]]
    """Attribute -> patients by value, as `filled`; attributes that were withheld as a whole are left out."""
    pairs: Mapping[Arrow, Float[np.ndarray, "parent_value child_value"]]
    """Patients by two values, NaN where withheld; arrows of which nothing was given are left out."""
    min_cell: int = 1
    noise_variance: float = 0.0
    """Of every count; 0 for counts without noise."""


def shares(tables: SiteTables, name: str) -> Float[np.ndarray, " value"]:
    """Of the patients of whom an attribute is known, the share that has each value, more than 0.

    Half a patient in all, spread over the values, keeps every value possible.
    """
    counts = tables.counts[name]
    smoothed: np.ndarray = counts + 0.5 / len(counts)
    return smoothed / float(smoothed.sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Association:
    """What one hospital's table says of two attributes beyond what each says by itself."""

    deviation: Float[np.ndarray, "parent_value child_value"]
    """Patients above or below what there were if the two had nothing to do with each other; rows and columns sum to 0."""
    variance: Float[np.ndarray, "parent_value child_value"]
    """Of the deviation if there is nothing in it but chance, noise and rounding; 0 where nobody can be."""
    disturbance: float
    """Variance of every count that is due to noise and rounding."""
    num_patients: float
    """In the table."""


def association(tables: SiteTables, arrow: Arrow) -> Association:
    """The table of an arrow's two ends against their independence."""
    parent, child = arrow
    alone = np.outer(shares(tables, parent), shares(tables, child)) * tables.num_patients
    rounding = 0.0 if tables.noise_variance else (tables.min_cell - 1) / 2
    given = tables.pairs[arrow] + rounding
    table = np.where(np.isnan(given), np.clip(alone, 0.0, tables.min_cell - 1.0), given)
    total = max(float(table.sum()), 1.0)
    rows, columns = table.sum(axis=1, keepdims=True) / total, table.sum(axis=0) / total
    expected = total * rows * columns
    disturbance = tables.noise_variance + (tables.min_cell**2 - 1) / 12
    disturbed = disturbance * _reach(rows) * _reach(columns)
    return Association(
        deviation=table - expected,
        variance=expected * (1 - rows) * (1 - columns) + np.where(expected > 0, disturbed, 0.0),
        disturbance=disturbance,
        num_patients=total,
    )


def _reach(margin: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """What is left of all counts' noise in the deviations along one side of the table, once the sums are taken out."""
    reach: np.ndarray = (1 - margin) ** 2 + (margin.size - 1) * margin**2
    return reach

"""Conditions that a student learns to draw, where nobody gives any: made up, of no patient.

Every size of subset of the attributes is as likely as any other, because a model can be asked any. Findings
are mostly absent, as they are in people; a table of prompts from a population says more than this can.
"""

from collections.abc import Collection
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from model.conditioning import FINDING_STATES, NULL, Schema

AGES = (18.0, 95.0)
"""Years, evenly spread."""

STATE_SHARES = MappingProxyType(
    {"absent": 0.7, "present": 0.15, "uncertain": 0.05, "not_mentioned": 0.1}
)


def random_conditions(
    schema: Schema, site_numbers: Collection[int], count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Rows (condition, attribute): age in years or NaN, then ids with 0 for open.

    Args:
        schema: the attributes of the model.
        site_numbers: hospitals that the model can draw like; none leaves the site open.
        count: how many.
        rng: the only source of randomness.
    """
    values = _values(schema, site_numbers, count, rng)
    is_known = rng.random(values.shape) < rng.random((count, 1))
    return np.where(is_known, values, schema.null_row()).astype(np.float32)


def _values(
    schema: Schema, site_numbers: Collection[int], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Rows in which everything is known."""
    shares = [STATE_SHARES[state] for state in FINDING_STATES]
    columns = list[NDArray[np.floating]]()
    for name, num_values in zip(schema.names, schema.vocabulary, strict=True):
        if name == "age":
            columns.append(rng.uniform(*AGES, count))
        elif name == "site":
            columns.append(rng.choice(sorted(site_numbers) or [NULL], count).astype(np.float64))
        elif name in schema.findings:
            columns.append(1.0 + rng.choice(len(shares), count, p=shares))
        else:
            columns.append(rng.integers(1, num_values, count, endpoint=True).astype(np.float64))
    return np.stack(columns, axis=1).astype(np.float64)

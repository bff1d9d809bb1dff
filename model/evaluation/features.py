"""Features: one row of numbers a record, as an encoder gives them; and which of them no measure is taken of."""

import numpy as np
from jaxtyping import Float

Features = Float[np.ndarray, "record feature"]
"""Any float type; the measures compute in float64."""


class FeaturesUnusable(ValueError):
    """Features of which a measure would be without meaning."""

    def __init__(self, which: str, problem: str, advice: str) -> None:
        super().__init__(f"the {which} features {problem}: {advice}.")


def check_features(
    real: Features,
    synthetic: Float[np.ndarray, "other feature"],
    *,
    min_records: int = 2,
) -> None:
    """Refuse two sets that cannot be compared.

    Raises:
        FeaturesUnusable: too few records in either set, or a value that is not a finite number.
    """
    check_set("real", real, min_records=min_records)
    check_set("synthetic", synthetic, min_records=min_records)


def check_set(which: str, features: Features, *, min_records: int) -> None:
    """Refuse a set of which no measure can be taken.

    Raises:
        FeaturesUnusable: too few records, or a value that is not a finite number.
    """
    if len(features) < min_records:
        found = f"are of {len(features)} record{'' if len(features) == 1 else 's'}"
        raise FeaturesUnusable(which, found, f"use at least {min_records}")
    if not np.isfinite(features).all():
        advice = "look for pictures that are not finite, or use other weights of the encoder"
        raise FeaturesUnusable(which, "hold values that are not finite numbers", advice)

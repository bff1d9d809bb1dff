"""How far people agree beyond what chance would have them agree: the kappas of Cohen and of Fleiss.

1 is agreement on every picture, 0 what readers reach who only share how often they say "synthetic".
(Cohen 1960, https://doi.org/10.1177/001316446002000104; Fleiss 1971, https://doi.org/10.1037/h0031619.)
"""

import math

import numpy as np
from jaxtyping import Bool


def cohen_kappa(first: Bool[np.ndarray, " picture"], second: Bool[np.ndarray, " picture"]) -> float:
    """Agreement of two series of judgements; NaN if both say the same of every picture."""
    share, other = float(first.mean()), float(second.mean())
    by_chance = share * other + (1 - share) * (1 - other)
    return _beyond_chance(float((first == second).mean()), by_chance)


def fleiss_kappa(judgements: Bool[np.ndarray, "reader picture"]) -> float:
    """Agreement of any number of readers, at least two; NaN if all say the same of every picture."""
    num_readers = len(judgements)
    ayes = judgements.sum(axis=0)
    pairs = ayes * (ayes - 1) + (num_readers - ayes) * (num_readers - ayes - 1)
    share = float(judgements.mean())
    observed = float(pairs.mean()) / (num_readers * (num_readers - 1))
    return _beyond_chance(observed, share**2 + (1 - share) ** 2)


def _beyond_chance(observed: float, by_chance: float) -> float:
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan

"""How the hospitals' changes become one change, piece by piece, by the rule of the study.

Sites are taken in the order of their names and sums run in float64, so that the same changes give the same bits in
whatever order they came. One site alone, and sites that all say the same, are passed on as they are.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from federation.stages import Combination
from model.tensors import Piece, Tensors
from server.aggregation.coordinate import median, trimmed_mean, weighted_sum
from server.aggregation.distances import spread
from server.aggregation.span import Weights, centred_clipping, geometric_median, multi_krum

Combined = Callable[[Piece], NDArray[np.float64]]
"""The combined change of a piece, flat; of each site as many values are in memory."""


class TooFewForRule(RuntimeError):
    """So few hospitals take part that the rule of combination cannot outvote the faulty ones."""

    def __init__(self, rule: Combination, *, num_sites: int) -> None:
        super().__init__(
            f"{rule.rule} with num_faulty {rule.num_faulty} needs the changes of {rule.min_sites} hospitals, and "
            f"there are {num_sites}: bring more hospitals back and type `fedcxr coordinator run` again, or make a new "
            f"study with a smaller num_faulty or with rule median"
        )


def combined(
    rule: Combination, changes: Mapping[str, Tensors], shares: Mapping[str, float]
) -> Combined:
    """The changes combined; what a piece of the result costs is paid when it is asked for.

    Rules for which ``needs_all_shards`` holds first read all changes once, before this returns.

    Args:
        rule: of the study's stage; ``trimmed-mean`` and ``median`` do not look at shares.
        changes: site name -> its change, checked: all hold the same tensors, and only finite values.
        shares: site name -> its share; only their proportions count.

    Raises:
        TooFewForRule: the rule needs more sites.
    """
    check_feasible(rule, len(changes))
    sites = sorted(changes)
    held, weights = (
        [changes[site] for site in sites],
        _proportions([shares[site] for site in sites]),
    )
    match rule.rule:
        case "mean":
            return partial(weighted_sum, held, weights.tolist())
        case "trimmed-mean":
            return partial(trimmed_mean, held, rule.num_faulty)
        case "median":
            return partial(median, held)
        case "multi-krum":
            weights = multi_krum(spread(held), weights, rule.num_faulty)
        case "rfa":
            weights = geometric_median(spread(held), weights)
        case "centred-clipping":
            weights = centred_clipping(spread(held), weights, rule.clip_ratio)
    return partial(weighted_sum, held, weights.tolist())


def needs_all_shards(rule: Combination) -> bool:
    """Whether the rule passes over whole changes before it can tell the first piece."""
    return rule.rule in {"multi-krum", "rfa", "centred-clipping"}


def check_feasible(rule: Combination, num_sites: int) -> None:
    """Make sure that a rule can be applied to so many changes.

    Raises:
        TooFewForRule: it needs more.
    """
    if num_sites < rule.min_sites:
        raise TooFewForRule(rule, num_sites=num_sites)


def _proportions(shares: list[float]) -> Weights:
    return np.array(shares) / math.fsum(shares)

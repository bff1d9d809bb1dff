"""How the low-rank products of the hospitals' adapters become one product of the same rank.

A layer's adapter is the product B A. What a round should reach is the mean product sum_i w_i B_i A_i, of which the
rules of a study find:

===========  =============================================================================  ========================
rule         new factors                                                                    their product
===========  =============================================================================  ========================
product-svd  nearest product of the rank to the mean product, in balanced factors (as       nearest of its rank
             FlexLoRA, Bai et al. 2024, https://arxiv.org/abs/2402.11505)                   (Eckart and Young 1936)
alternate    mean of one factor, the other rests; which one changes from round to round     the mean product
             (RoLoRA, Chen et al. 2025, https://arxiv.org/abs/2502.01755)
ffa          mean of B, A rests as it was drawn (FFA-LoRA, Sun et al. 2024,                 the mean product
             https://arxiv.org/abs/2403.12313)
joint        mean of A and mean of B (FedIT, Zhang et al. 2023,                             off by `joint_gap`
             https://arxiv.org/abs/2305.05644)
===========  =============================================================================  ========================

The last three are `server.aggregation.combine` on the factors that train. Everything here holds one layer of all
hospitals at a time, and the next one while that is computed, in float64 and in the order of the hospitals' names.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from federation.stages import LoraStage
from model.arrays import Arrays
from model.low_rank import DOWN, UP, layers_of, nearest_factors, product_norm, truncate
from model.tensors import Piece, Shapes, Tensors, as_tensors

Wide = NDArray[np.float64]


class NextFactors(Tensors):
    """An adapter that is computed a layer at a time, when it is asked for, and the next layer meanwhile.

    Args:
        shapes: Name and shape of every tensor.
        begin: Reads what a layer is made from, at once and layer after layer; what it gives computes the factors.
    """

    def __init__(self, shapes: Shapes, begin: Callable[[str], Callable[[], Arrays]]) -> None:
        self._shapes = shapes
        self._begin = begin
        self._next = dict(pairwise(layers_of(shapes)))
        self._coming: dict[str, Future[Arrays]] = {}
        """The layer that was asked for last, and the one after it."""
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="layer")

    @property
    def shapes(self) -> Shapes:
        """Name and shape of every tensor."""
        return self._shapes

    def piece(self, piece: Piece) -> NDArray[np.float32]:
        """The values of a piece, flat."""
        factors = self._factors(piece.name.removesuffix(DOWN).removesuffix(UP))
        return np.ravel(factors[piece.name])[piece.start : piece.stop]

    def _factors(self, layer: str) -> Arrays:
        wanted = [layer, *([self._next[layer]] if layer in self._next else [])]
        self._coming = {
            each: self._coming.get(each) or self._pool.submit(self._begin(each)) for each in wanted
        }
        return self._coming[layer].result()


def next_factors(
    stage: LoraStage, adapter: Arrays, changes: Mapping[str, Arrays], shares: Mapping[str, float]
) -> Tensors:
    """``product-svd``: the adapter whose products are the nearest of its rank to the hospitals' mean products.

    The mean product has rank up to hospitals * rank and is never written out. A single hospital's factors of the
    adapter's own rank are their own nearest product and pass unchanged.

    Args:
        stage: Names the hospitals that train the adapter truncated to a lower rank, to which their changes are relative.
        adapter: What the hospitals received.
        changes: Hospital to the change of its factors; read a layer at a time, in order of name.
        shares: Hospital to its share of the mean; they sum to 1.

    Returns:
        A lazy adapter; whoever asks in order of name has every layer computed once, two at a time.
    """
    weights = [shares[site] for site in sorted(shares)]
    ranks = {site: stage.site_ranks.get(site, stage.rank) for site in sorted(shares)}

    def begin(layer: str) -> Callable[[], Arrays]:
        downs, ups = _moved(adapter, changes, ranks, layer)
        spare = adapter[layer + DOWN]

        def factors() -> Arrays:
            if [*ranks.values()] == [stage.rank]:
                (down,), (up,) = downs, ups
            else:
                stacked = _stacked(weights, downs, ups)
                down, up = nearest_factors(*stacked, rank=stage.rank, spare=spare)
            with np.errstate(over="ignore"):  # the round loop refuses weights that are not finite
                return {layer + DOWN: down.astype(np.float32), layer + UP: up.astype(np.float32)}

        return factors

    return NextFactors(as_tensors(adapter).shapes, begin)


def joint_gap(adapter: Arrays, changes: Mapping[str, Arrays], shares: Mapping[str, float]) -> float:
    """How far the products of the mean factors are from the mean products, as a share of the latter, over all layers.

    Their difference is sum_i w_i (B_i - mean B) (A_i - mean A): 0 where one factor is the same for all, and of second
    order in how far the hospitals drift apart.

    Args:
        adapter: What the hospitals received.
        changes: Hospital to the change of its factors; a factor without a change rested.
        shares: Hospital to its share of the mean; they sum to 1.
    """
    weights = [shares[site] for site in sorted(shares)]
    apart = whole = 0.0
    for layer in layers_of(adapter):
        ranks = dict.fromkeys(sorted(shares), len(adapter[layer + DOWN]))
        downs, ups = _moved(adapter, changes, ranks, layer)
        whole = math.hypot(whole, product_norm(*_stacked(weights, downs, ups)))
        off = _centred(weights, downs), _centred(weights, ups)
        apart = math.hypot(apart, product_norm(*_stacked(weights, *off)))
    return apart / whole if whole else 0.0


def _moved(
    adapter: Arrays, changes: Mapping[str, Arrays], ranks: Mapping[str, int], layer: str
) -> tuple[list[Wide], list[Wide]]:
    """Every hospital's factors A, and every hospital's factors B, as they were after its training."""
    down, up = adapter[layer + DOWN], adapter[layer + UP]
    started = {rank: truncate(down, up, rank) for rank in set(ranks.values())}
    return (
        [_sum(started[ranks[site]][0], changes[site].get(layer + DOWN)) for site in ranks],
        [_sum(started[ranks[site]][1], changes[site].get(layer + UP)) for site in ranks],
    )


def _sum(factor: NDArray[np.float32], change: NDArray[np.float32] | None) -> Wide:
    wide = factor.astype(np.float64)
    return wide if change is None else wide + change


def _stacked(
    weights: Sequence[float], downs: Sequence[Wide], ups: Sequence[Wide]
) -> tuple[Wide, Wide]:
    """One A and one B whose product is the weighted sum of the products."""
    up = np.concatenate(ups, axis=1)
    up *= np.repeat(weights, [len(down) for down in downs])
    return np.concatenate(downs), up


def _centred(weights: Sequence[float], factors: Sequence[Wide]) -> list[Wide]:
    mean = sum(weight * factor for weight, factor in zip(weights, factors, strict=True))
    return [factor - mean for factor in factors]

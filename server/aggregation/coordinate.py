"""Rules that look at each value by itself: the mean, the trimmed mean, the median.

Each takes one piece of every site's change and gives the same piece of the combined change, flat, in float64. The
same values give the same bits, however a tensor is cut into pieces.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from model.tensors import Piece, Tensors

CELL = 2**14
"""Values of each site that are worked on at a time: few enough to stay in the processor's cache."""


def weighted_sum(
    changes: Sequence[Tensors], weights: Sequence[float], piece: Piece
) -> NDArray[np.float64]:
    """Sum of the changes times their weights, added in the order given; a weight of 0 is not read.

    With shares as weights this is federated averaging (McMahan et al. 2017, https://arxiv.org/abs/1602.05629).
    One change is in memory at a time.
    """
    total, room = np.zeros(piece.num_values), np.empty(CELL)
    for change, weight in zip(changes, weights, strict=True):
        if not weight:
            continue
        block = change.piece(piece)
        for start in range(0, piece.num_values, CELL):
            sums, values = total[start : start + CELL], block[start : start + CELL]
            sums += np.multiply(values, weight, out=room[: values.size], dtype=np.float64)
    return total


def trimmed_mean(changes: Sequence[Tensors], num_dropped: int, piece: Piece) -> NDArray[np.float64]:
    """Plain mean of what is left of each value without its lowest and highest (Yin et al. 2018, https://arxiv.org/abs/1803.01498).

    Shares do not count: a site that may send anything may also say that it has any number of records.

    Args:
        changes: of n sites.
        num_dropped: so many of the n values are dropped at either end; fewer than n / 2.
        piece: what is read of every change at once.
    """
    blocks = [change.piece(piece) for change in changes]
    num_kept = len(blocks) - 2 * num_dropped
    total = np.zeros(piece.num_values)
    for start in range(0, piece.num_values, CELL):
        cell = slice(start, start + CELL)
        for row in _sorted([block[cell] for block in blocks])[num_dropped:][:num_kept]:
            total[cell] += row
    total /= num_kept
    return total


def median(changes: Sequence[Tensors], piece: Piece) -> NDArray[np.float64]:
    """Middle one of each value, or the mean of the middle two (Yin et al. 2018); shares do not count."""
    return trimmed_mean(changes, (len(changes) - 1) // 2, piece)


def _sorted(rows: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The same rows with the values at every place in rising order.

    Whole rows are compared in a fixed order of pairs, which is ten times as fast as sorting place by place.
    """
    ordered = [row.copy() for row in rows]
    spare = np.empty_like(ordered[0])
    for low, high in comparisons(len(ordered)):
        np.minimum(ordered[low], ordered[high], out=spare)
        np.maximum(ordered[low], ordered[high], out=ordered[high])
        ordered[low], spare = spare, ordered[low]
    return ordered


@lru_cache(maxsize=8)
def comparisons(num_rows: int) -> tuple[tuple[int, int], ...]:
    """Pairs of places that sort any rows when each pair in turn is put in order.

    Batcher's merge exchange (Knuth, The Art of Computer Programming, volume 3, 5.2.2, algorithm M).
    """
    top = 1 << max(0, (num_rows - 1).bit_length() - 1)
    pairs: list[tuple[int, int]] = []
    bit = top
    while bit:
        merge, rest, distance = top, 0, bit
        while True:
            pairs += [
                (place, place + distance)
                for place in range(num_rows - distance)
                if place & bit == rest
            ]
            if merge == bit:
                break
            merge, rest, distance = merge >> 1, bit, merge - bit
        bit >>= 1
    return tuple(pairs)

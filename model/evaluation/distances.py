"""Distances between two sets of features, a block of rows at a time, so that memory stays bounded."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray

MAX_BLOCK_VALUES = 4_000_000
"""Numbers in one block of pairs; 32 MB."""


def row_blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices that cover ``num_rows``, each of at most ``MAX_BLOCK_VALUES`` pairs with the columns."""
    step = max(1, MAX_BLOCK_VALUES // max(1, num_columns))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def distance_blocks(
    from_features: Float[np.ndarray, "record feature"],
    to_features: Float[np.ndarray, "other feature"],
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Euclidean distances (rows of the block, other) with the rows that they belong to.

    Both sets are moved by one offset first: a large common mean would eat the digits of small distances.
    """
    centre = to_features.mean(axis=0, dtype=np.float64)
    to_centred = to_features - centre
    to_squares = np.square(to_centred).sum(axis=1)
    for rows in row_blocks(len(from_features), len(to_features)):
        block = from_features[rows] - centre
        squared = np.square(block).sum(axis=1)[:, None] + to_squares - 2 * block @ to_centred.T
        yield rows, np.sqrt(np.maximum(squared, 0.0))


def neighbour_radius(
    features: Float[np.ndarray, "record feature"], num_neighbours: int
) -> Float[np.ndarray, " record"]:
    """Distance of each record to its ``num_neighbours``-th neighbour in the same set."""
    radius = np.empty(len(features))
    for rows, distances in distance_blocks(features, features):
        distances[np.arange(len(distances)), np.arange(len(features))[rows]] = -1.0
        radius[rows] = np.partition(distances, num_neighbours, axis=1)[:, num_neighbours]
    return radius


def nearest(
    from_features: Float[np.ndarray, "record feature"],
    to_features: Float[np.ndarray, "other feature"],
    *,
    from_patients: Shaped[np.ndarray, " record"] | None = None,
    to_patients: Shaped[np.ndarray, " other"] | None = None,
) -> tuple[Float[np.ndarray, " record"], Int[np.ndarray, " record"]]:
    """Distance to, and place of, the nearest of the other records.

    With patients, records of the same patient do not count; where none is left the distance is infinite.
    """
    distance, place = np.empty(len(from_features)), np.empty(len(from_features), dtype=np.int64)
    for rows, distances in distance_blocks(from_features, to_features):
        if from_patients is not None and to_patients is not None:
            distances[from_patients[rows][:, None] == to_patients] = np.inf
        place[rows] = distances.argmin(axis=1)
        distance[rows] = distances.min(axis=1)
    return distance, place

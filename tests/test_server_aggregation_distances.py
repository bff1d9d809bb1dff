"""Distances between changes: exact where the usual formula is rounding noise."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.tensors import BLOCK_VALUES, InMemory, Tensors
from server.aggregation.distances import CELL, spread

Rows = NDArray[np.float32]


def sites(rows: Rows) -> list[Tensors]:
    """One change per row, in two tensors."""
    middle = rows.shape[1] // 2
    return [InMemory({"a": row[:middle].reshape(1, -1), "b": row[middle:]}) for row in rows]


def brute_force(rows: Rows) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    squared: NDArray[np.float64] = np.square(wide[:, None] - wide[None]).sum(axis=2)
    return squared


def test_distances_and_norms_of_a_right_triangle() -> None:
    measured = spread(sites(np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], np.float32)))
    assert measured.squared.tolist() == [[0.0, 25.0, 9.0], [25.0, 0.0, 16.0], [9.0, 16.0, 0.0]]
    assert measured.norms.tolist() == [3.0, 4.0, 0.0]


@pytest.mark.parametrize("width", [1, 7, CELL, 2 * CELL + 5, BLOCK_VALUES + 2])
def test_every_value_of_every_tensor_counts_once(width: int) -> None:
    rows = np.random.default_rng(width).normal(size=(4, width)).astype(np.float32)
    measured = spread(sites(rows))
    np.testing.assert_allclose(measured.squared, brute_force(rows), rtol=1e-12)
    np.testing.assert_allclose(
        measured.norms, np.linalg.norm(rows.astype(np.float64), axis=1), rtol=1e-12
    )


def test_changes_a_millionth_apart_are_told_apart_where_the_short_cut_cannot() -> None:
    rng = np.random.default_rng(5)
    one = rng.normal(size=20_000).astype(np.float32)
    two = (one * np.float32(1 + 1e-6)).astype(np.float32)
    rows = np.stack([one, two])
    exact = brute_force(rows)[0, 1]
    assert np.sqrt(exact) == pytest.approx(1e-6 * np.linalg.norm(one), rel=0.1)
    assert spread(sites(rows)).squared[0, 1] == pytest.approx(exact, rel=1e-12)
    short_cut = float(one @ one + two @ two - 2 * (one @ two))
    assert abs(short_cut - exact) >= exact


def test_the_same_change_is_at_no_distance_from_itself() -> None:
    row = np.random.default_rng(2).normal(size=3 * CELL).astype(np.float32)
    assert not spread(sites(np.stack([row, row, row]))).squared.any()

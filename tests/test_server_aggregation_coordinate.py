"""The rules that look at each value by itself, on values small enough to work out by hand."""

from itertools import product

import numpy as np
import pytest

from model.tensors import InMemory, Piece, Tensors
from server.aggregation.coordinate import (
    CELL,
    comparisons,
    median,
    trimmed_mean,
    weighted_sum,
)


def sites(*rows: list[float]) -> list[Tensors]:
    """One change per row, of one tensor."""
    return [InMemory({"w": np.array(row, np.float32)}) for row in rows]


def all_of(width: int) -> Piece:
    return Piece(name="w", start=0, stop=width)


@pytest.mark.parametrize("num_rows", range(1, 11))
def test_the_fixed_comparisons_sort_every_row_of_noughts_and_ones_and_so_any_row(
    num_rows: int,
) -> None:
    # Knuth, 5.3.4, theorem Z: comparisons that sort all of these sort everything
    columns = np.array(list(product((0, 1), repeat=num_rows))).T
    for low, high in comparisons(num_rows):
        assert low < high
        columns[[low, high]] = np.sort(columns[[low, high]], axis=0)
    assert (np.diff(columns, axis=0) >= 0).all()


def test_the_mean_is_weighted_and_runs_in_float64() -> None:
    changes = sites([1e8, 8.0], [1.0, 0.0], [-1e8, 4.0])
    assert weighted_sum(changes, [0.25, 0.25, 0.25], all_of(2)).tolist() == [0.25, 3.0]
    assert weighted_sum(changes, [0.5, 0.0, 0.5], all_of(2)).tolist() == [0.0, 6.0]


def test_a_site_without_weight_is_not_even_read() -> None:
    changes = sites([1.0], [np.inf])
    assert weighted_sum(changes, [1.0, 0.0], all_of(1)).tolist() == [1.0]


@pytest.mark.parametrize(
    ("num_dropped", "wanted"), [(0, [22.0, 0.0]), (1, [3.0, -4 / 3]), (2, [3.0, -1.0])]
)
def test_the_trimmed_mean_drops_as_many_at_either_end(
    num_dropped: int, wanted: list[float]
) -> None:
    changes = sites([1.0, -2.0], [100.0, 6.0], [3.0, -1.0], [4.0, -1.0], [2.0, -2.0])
    assert trimmed_mean(changes, num_dropped, all_of(2)).tolist() == pytest.approx(wanted)


def test_the_median_is_the_middle_value_or_the_mean_of_the_middle_two() -> None:
    rows = [9.0, 5.0], [1.0, -7.0], [2.0, 6.0], [4.0, 0.0]
    assert median(sites(*rows[:3]), all_of(2)).tolist() == [2.0, 5.0]
    assert median(sites(*rows), all_of(2)).tolist() == [3.0, 2.5]
    assert median(sites(*rows[:1]), all_of(2)).tolist() == [9.0, 5.0]


def test_long_pieces_are_sorted_cell_by_cell_up_to_their_last_value() -> None:
    values = np.random.default_rng(1).normal(size=(5, 2 * CELL + 3)).astype(np.float32)
    changes: list[Tensors] = [InMemory({"w": row}) for row in values]
    found = trimmed_mean(changes, 1, all_of(values.shape[1]))
    wanted = np.sort(values.astype(np.float64), axis=0)[1:4].mean(axis=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)


def test_the_changes_themselves_stay_as_they_are() -> None:
    changes = sites([3.0], [2.0], [1.0])
    median(changes, all_of(1))
    weighted_sum(changes, [0.2, 0.3, 0.5], all_of(1))
    assert [float(change["w"][0]) for change in changes] == [3.0, 2.0, 1.0]

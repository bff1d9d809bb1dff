"""Pieces and shards: every value once, in order, and never more of them at a time than was said."""

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.tensors import InMemory, Piece, Shapes, as_tensors, num_values, pieces_of, shard_plan

sides = st.lists(st.integers(0, 7), max_size=4).map(tuple)
shapes_of_all_kinds = st.dictionaries(st.text("abc.", min_size=1, max_size=4), sides, max_size=6)
limits = st.integers(1, 50)


def places(pieces: list[Piece]) -> list[tuple[str, int]]:
    """Name and number of each value, in order."""
    return [
        (piece.name, value) for piece in pieces for value in range(piece.start, piece.stop)
    ]  # fmt: skip


def every_place(shapes: Shapes) -> list[tuple[str, int]]:
    return [(name, value) for name in sorted(shapes) for value in range(prod(shapes[name]))]


@given(shapes_of_all_kinds, limits)
@example({"scalar": (), "empty": (3, 0), "row longer than a piece": (2, 60)}, 50)
def test_pieces_hold_every_value_once_and_in_order(shapes: Shapes, limit: int) -> None:
    pieces = list(pieces_of(shapes, max_values=limit))
    assert places(pieces) == every_place(shapes)
    assert {piece.name for piece in pieces} == set(shapes)
    assert all(piece.num_values <= limit for piece in pieces)


@given(shapes_of_all_kinds, limits)
def test_pieces_are_whole_rows_where_a_row_fits(shapes: Shapes, limit: int) -> None:
    for piece in pieces_of(shapes, max_values=limit):
        row = prod(shapes[piece.name][1:])
        if 0 < row <= limit:
            assert piece.start % row == 0
            assert piece.stop % row == 0


@given(shapes_of_all_kinds, limits)
@example({"scalar": (), "empty": (3, 0), "row longer than a shard": (2, 60)}, 50)
def test_shards_hold_every_value_once_in_order_and_within_the_limit(
    shapes: Shapes, limit: int
) -> None:
    plan = shard_plan(shapes, max_values=limit)
    assert places([piece for pieces in plan for piece in pieces]) == every_place(shapes)
    assert all(0 < sum(piece.num_values for piece in pieces) <= limit for pieces in plan)


@given(shapes_of_all_kinds, limits)
def test_two_shards_in_a_row_are_more_than_one_could_hold(shapes: Shapes, limit: int) -> None:
    sizes = [sum(map(size, pieces)) for pieces in shard_plan(shapes, max_values=limit)]
    assert all(one + two > limit for one, two in pairwise(sizes))


def size(piece: Piece) -> int:
    return piece.num_values


def test_the_order_in_which_tensors_are_named_does_not_matter() -> None:
    shapes = {"a": (4, 4), "b": (9,), "c": ()}
    backwards = dict(reversed(shapes.items()))
    assert shard_plan(shapes, max_values=8) == shard_plan(backwards, max_values=8)


def arrays() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return {
        "b": rng.normal(size=(3, 4)).astype(np.float32),
        "a": np.asfortranarray(rng.normal(size=(5, 2)).astype(np.float32)),
        "scalar": np.array(2.0, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_the_pieces_of_arrays_are_their_values_row_after_row(limit: int) -> None:
    tensors = as_tensors(arrays())
    for name, array in arrays().items():
        pieces = pieces_of({name: array.shape}, max_values=limit)
        joined = np.concatenate([tensors.piece(piece) for piece in pieces])
        np.testing.assert_array_equal(joined, array.reshape(-1))


def test_tensors_are_a_mapping_in_order_of_name() -> None:
    tensors = as_tensors(arrays())
    assert list(tensors) == ["a", "b", "empty", "scalar"]
    assert num_values(tensors.shapes) == 12 + 10 + 1
    for name, array in arrays().items():
        np.testing.assert_array_equal(tensors[name], array)
        assert tensors[name].shape == array.shape
    with pytest.raises(KeyError):
        tensors["none"]


def test_tensors_are_not_wrapped_twice() -> None:
    tensors = InMemory(arrays())
    assert as_tensors(tensors) is tensors

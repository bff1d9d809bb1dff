"""Withheld counts: what is given is true, and what is not given cannot be worked out from it."""

from collections import defaultdict
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.small_cells import in_steps, withhold_below, withhold_small

cells = st.lists(st.integers(0, 45), min_size=1, max_size=6)
limits = st.integers(1, 12)


@given(counts=cells, unknown=st.integers(0, 60), min_cell=limits)
def test_what_is_given_is_true_to_the_next_step_below_and_never_small(
    counts: list[int], unknown: int, min_cell: int
) -> None:
    given = withhold_small(counts, total=sum(counts) + unknown, min_cell=min_cell)
    for count, shown in zip(counts, given, strict=True):
        if shown is None:
            continue
        assert shown >= min_cell
        assert shown % min_cell == 0
        assert shown <= count < shown + min_cell


@given(counts=cells, unknown=st.integers(0, 60), min_cell=limits, data=st.data())
def test_nobody_can_tell_the_patients_of_a_small_count_from_patients_not_known(
    counts: list[int], unknown: int, min_cell: int, data: st.DataObject
) -> None:
    total = sum(counts) + unknown
    given = withhold_small(counts, total=total, min_cell=min_cell)
    for index, count in enumerate(counts):
        if count < min_cell:
            moved = counts.copy()
            moved[index] -= data.draw(st.integers(0, count))
            assert withhold_small(moved, total=total, min_cell=min_cell) == given


@pytest.mark.parametrize("num_values", [2, 3])
def test_no_withheld_count_can_be_worked_out_even_if_every_value_is_known(num_values: int) -> None:
    min_cell, largest = 3, 17
    possible: defaultdict[object, list[set[int]]] = defaultdict(
        lambda: [set() for _ in range(num_values)]
    )
    for counts in product(range(largest + 1), repeat=num_values):
        total = sum(counts)
        if total > largest:
            continue
        given = withhold_small(counts, total=total, min_cell=min_cell)
        for seen, count in zip(possible[given, total // min_cell], counts, strict=True):
            seen.add(count)
    for (given, _), sets in possible.items():  # type: ignore[misc]
        for shown, seen in zip(given, sets, strict=True):
            assert shown is not None or len(seen) > 1, (given, sets)


def test_one_patient_of_a_kind_leaves_no_trace_in_the_counts_beside() -> None:
    without = withhold_small([203, 97, 0, 0], total=300, min_cell=10)
    assert without == (200, 90, None, None)
    assert withhold_small([203, 96, 1, 0], total=300, min_cell=10) == without
    assert withhold_small([203, 97, 1, 0], total=301, min_cell=10) == without


def test_an_attribute_is_withheld_where_the_total_would_give_a_count_away() -> None:
    assert withhold_small([219, 1], total=220, min_cell=10) == (None, None)
    assert withhold_small([218, 1], total=219, min_cell=10) == (210, None)
    assert withhold_small([119, 19, 2], total=140, min_cell=10) == (None, None, None)


def test_counts_that_are_nearly_all_of_a_total_stay() -> None:
    assert withhold_small([100, 120], total=220, min_cell=10) == (100, 120)
    assert withhold_small([100, 20, 0, 0], total=120, min_cell=10) == (100, 20, None, None)


def test_many_patients_not_known_cost_no_count() -> None:
    assert withhold_small([50, 7], total=300, min_cell=10) == (50, None)


def test_with_the_smallest_limit_counts_are_exact() -> None:
    assert withhold_small([7, 1, 0], total=9, min_cell=1) == (7, 1, None)


def test_noised_counts_are_given_as_they_are_unless_they_are_small() -> None:
    assert withhold_below([-3, 0, 9, 10, 123], min_cell=10) == (None, None, None, 10, 123)


@given(counts=cells, min_cell=limits, data=st.data())
def test_a_small_count_leaves_no_trace_in_steps(
    counts: list[int], min_cell: int, data: st.DataObject
) -> None:
    given = in_steps(counts, min_cell=min_cell)
    others = [
        data.draw(st.integers(0, min_cell - 1)) if count < min_cell else count for count in counts
    ]
    assert in_steps(others, min_cell=min_cell) == given
    for count, shown in zip(counts, given, strict=True):
        assert (shown is None) == (count < min_cell)
        assert shown is None or (shown % min_cell == 0 and shown <= count < shown + min_cell)

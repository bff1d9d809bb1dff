"""Who counts how much, and how long a change is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.aggregation.shares import l2_norm, site_shares


def test_shares_are_equal_or_follow_the_records_and_sum_to_one() -> None:
    records = {"b": 30, "a": 10}
    assert site_shares(records, weighting="uniform") == {"a": 0.5, "b": 0.5}
    assert site_shares(records, weighting="records") == {"a": 0.25, "b": 0.75}


@given(st.permutations(range(5)))
def test_the_order_of_arrival_does_not_move_a_bit_of_the_shares(order: list[int]) -> None:
    records = {f"site-{number}": 3 + number for number in order}
    shares = site_shares(records, weighting="records")
    assert list(shares) == sorted(records)
    assert shares == site_shares(dict(sorted(records.items())), weighting="records")


def test_a_hospital_cannot_claim_the_model_by_claiming_records() -> None:
    shares = site_shares({"a": 300, "b": 400, "c": 10**15}, weighting="records")
    assert shares["c"] == pytest.approx(4000 / 4700)


def test_the_norm_is_that_of_all_tensors_together() -> None:
    assert l2_norm([np.array([3.0], np.float32), np.array([[4.0]], np.float32)]) == 5.0
    assert l2_norm([np.array([1e30], np.float32)]) == pytest.approx(1e30, rel=1e-6)

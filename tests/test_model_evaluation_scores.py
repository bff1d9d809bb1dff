"""Areas, calibration, shares and intervals: golden numbers and laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation.auroc import auroc
from model.evaluation.binomial import at_least, exact_interval
from model.evaluation.bootstrap import bootstrap_interval, percentile_interval, resamples

tied = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30)


@given(records=tied)
def test_the_area_is_the_share_of_pairs_in_order(records: list[tuple[int, bool]]) -> None:
    high = [score for score, positive in records if positive]
    low = [score for score, positive in records if not positive]
    found = auroc(
        np.array([float(score) for score, _ in records]), np.array([p for _, p in records])
    )
    if not high or not low:
        assert math.isnan(found)
        return
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in high for b in low]
    assert found == pytest.approx(np.mean(wins))


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (8, 10, 0.4439, 0.9748),
        (50, 100, 0.3983, 0.6017),
    ],
)  # Clopper and Pearson's limits as tables give them
def test_the_exact_interval_is_that_of_the_tables(
    hits: int, trials: int, low: float, high: float
) -> None:
    found = exact_interval(hits, trials)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@given(trials=st.integers(1, 60), data=st.data())
def test_the_ends_of_the_exact_interval_make_the_count_as_rare_as_promised(
    trials: int, data: st.DataObject
) -> None:
    hits = data.draw(st.integers(1, trials))
    found = exact_interval(hits, trials)
    assert at_least(hits, trials, found.low) == pytest.approx(0.025, abs=1e-6)
    assert found.low <= hits / trials <= found.high


def test_the_tail_of_two_coins() -> None:
    assert at_least(1, 2, 0.5) == pytest.approx(0.75)
    assert at_least(0, 2, 0.0) == 1.0
    assert at_least(1, 2, 0.0) == 0.0


def test_a_resample_holds_whole_patients() -> None:
    patients = np.array([7, 3, 7, 9, 3, 7])
    for places in resamples(patients, np.random.default_rng(1), 20):
        drawn, counts = np.unique(patients[places], return_counts=True)
        sizes = {7: 3, 3: 2, 9: 1}
        assert all(count % sizes[who] == 0 for who, count in zip(drawn, counts, strict=True))
        assert sum(count // sizes[who] for who, count in zip(drawn, counts, strict=True)) == 3


def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap_interval(
        lambda places: float(values[places].mean()),
        np.arange(400),
        generator=np.random.default_rng(2),
    )
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert found.low < values.mean() < found.high


def test_the_interval_of_patients_seen_twice_is_wider_than_that_of_records() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=200), 4)

    def width(patients: np.ndarray) -> float:
        found = bootstrap_interval(
            lambda places: float(values[places].mean()),
            patients,
            generator=np.random.default_rng(2),
        )
        return found.high - found.low

    assert width(np.repeat(np.arange(200), 4)) == pytest.approx(2 * width(np.arange(800)), rel=0.15)


def test_resamples_that_tell_nothing_are_left_out() -> None:
    found = percentile_interval(np.array([np.nan, 1.0, 1.0]))
    assert (found.low, found.high) == (1.0, 1.0)
    assert math.isnan(percentile_interval(np.array([np.nan])).low)

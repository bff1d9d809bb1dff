"""Areas, calibration, shares and intervals: golden numbers and laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation.auroc import auroc, average_precision, delong
from model.evaluation.binomial import at_least, exact_interval
from model.evaluation.bootstrap import bootstrap_interval, percentile_interval, resamples
from model.evaluation.calibration import calibration_error

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


def test_the_precision_of_a_known_ranking() -> None:
    # found at ranks 1, 3 and 6: (1/1 + 2/3 + 3/6) / 3
    labels = np.array([True, False, True, False, False, True])
    assert average_precision(-np.arange(6.0), labels) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_scores_that_tie_have_the_precision_of_chance() -> None:
    labels = np.array([True, False, False, False])
    assert average_precision(np.ones(4), labels) == pytest.approx(0.25)


def test_a_paired_comparison_has_the_variance_of_the_placements() -> None:
    # DeLong et al. 1988, equations 4 to 6, written out with sums over pairs
    rng = np.random.default_rng(1)
    labels = np.arange(40) < 15
    first, second = labels + rng.normal(size=40), labels + rng.normal(size=40) * 2

    def wins(scores: np.ndarray) -> np.ndarray:
        return (scores[labels][:, None] > scores[~labels]).astype(float)

    apart = wins(first) - wins(second)
    variance = apart.mean(1).var(ddof=1) / 15 + apart.mean(0).var(ddof=1) / 25
    found = delong(first, second, labels)
    assert found.first - found.second == pytest.approx(apart.mean())
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    z = abs(apart.mean()) / math.sqrt(variance)
    assert found.p_value == pytest.approx(2 * (1 - 0.5 * (1 + math.erf(z / math.sqrt(2)))))


def test_a_paired_comparison_without_a_difference_is_significant_as_often_as_it_says() -> None:
    rng, labels = np.random.default_rng(2), np.arange(60) < 30
    p_values = [
        delong(labels + rng.normal(size=60), labels + rng.normal(size=60), labels).p_value
        for _ in range(200)
    ]
    assert 0.005 < np.mean(np.array(p_values) < 0.05) < 0.11  # four standard errors around 5 %


def test_two_equal_classifiers_do_not_differ() -> None:
    labels = np.array([True, True, False, False])
    assert delong(np.arange(4.0), np.arange(4.0), labels).p_value == 1


def test_probabilities_that_are_kept_have_no_calibration_error() -> None:
    probabilities = np.repeat([0.25, 0.75], 4)
    labels = np.array([True, False, False, False, True, True, True, False])
    assert calibration_error(probabilities, labels) == pytest.approx(0)
    assert calibration_error(probabilities, ~labels) == pytest.approx(0.5)


def test_certainty_that_is_wrong_is_the_whole_calibration_error() -> None:
    assert calibration_error(np.ones(3), np.zeros(3, dtype=bool)) == 1


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

"""Measures and their intervals: against the plain definition, resample by resample."""

import math

import numpy as np
import pytest

from model.conditioning import Metadata, Schema
from model.evaluation.auroc import auroc
from model.evaluation.bootstrap import resamples
from model.evaluation.probe import Predictions
from model.evaluation.questions import UNKNOWN
from synthesis.evaluation.estimate import (
    divided,
    estimate,
    mean_of,
    mean_over,
    patient_weights,
)
from synthesis.evaluation.reading import area_under_curve, readings

SCHEMA = Schema()


def rows_of(count: int) -> np.ndarray:
    """Women and men in turn, every third with a large heart, ages from 20 on; the last of unknown sex."""
    rows = [
        SCHEMA.row(
            Metadata(
                age=20.0 + number,
                sex=("F", "M")[number % 2] if number < count - 1 else None,
                view=("PA", "AP", "LATERAL")[number % 3],
                race=None,
                site=None,
                manufacturer=None,
                findings={"cardiomegaly": "present" if number % 3 == 0 else "absent"},
            )
        )
        for number in range(count)
    ]
    return np.stack(rows)


def test_the_area_of_every_resample_is_that_of_the_records_drawn_ties_and_unknown_ones_included() -> (
    None
):
    rng = np.random.default_rng(1)
    patients = np.arange(60) // 2
    scores = rng.integers(0, 9, 60) / 9
    truth = rng.choice([0, 1, UNKNOWN], 60)
    weights = patient_weights(patients, num_resamples=30, generator=np.random.default_rng(2))
    drawn = [np.arange(60), *resamples(patients, np.random.default_rng(2), 30)]
    known = [places[truth[places] != UNKNOWN] for places in drawn]
    expected = [auroc(scores[places], truth[places] == 1) for places in known]
    np.testing.assert_allclose(area_under_curve(scores, truth, weights), expected)


def test_the_area_of_one_class_or_of_nobody_is_not_known() -> None:
    weights = np.array([[1.0, 1.0], [0.0, 2.0], [0.0, 0.0]])
    areas = area_under_curve(np.array([0.1, 0.9]), np.array([0, 1]), weights)
    np.testing.assert_array_equal(areas, [1.0, math.nan, math.nan])
    nobody = area_under_curve(np.array([0.1, 0.9]), np.full(2, UNKNOWN), weights)
    assert np.isnan(nobody).all()


def test_both_records_of_a_patient_are_drawn_together() -> None:
    weights = patient_weights(
        np.array([7, 7, 9]), num_resamples=50, generator=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(weights[0], 1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[1:, 0] + weights[1:, 2], 2)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(4).normal(3.0, 1.0, 400)
    weights = patient_weights(
        np.arange(400), num_resamples=1000, generator=np.random.default_rng(5)
    )
    found = estimate(mean_of(values, weights))
    assert found.value == pytest.approx(values.mean())
    assert found.interval.high - found.interval.low == pytest.approx(
        2 * 1.96 * values.std() / 20, rel=0.1
    )


def test_what_is_not_known_counts_in_no_mean_and_in_no_ratio() -> None:
    weights = np.ones((1, 3))
    assert mean_of(np.array([1.0, np.nan, 3.0]), weights)[0] == 2.0
    assert mean_over([np.array([1.0, np.nan]), np.array([3.0, np.nan])])[0] == 2.0
    assert math.isnan(mean_over([np.array([np.nan]), np.array([np.nan])])[0])
    assert math.isnan(divided(np.array([1.0]), np.array([0.0]))[0])


def test_each_attribute_has_the_measure_that_fits_it() -> None:
    rows = rows_of(60)
    sex = np.eye(2)[(rows[:, 1] == 2).astype(int)]
    view = np.eye(4)[np.zeros(60, dtype=int)]
    view[:] = [0.4, 0.3, 0.3, 0.0]
    heart = np.full((60, 2), 0.5)
    predictions = Predictions(
        age=rows[:, 0] + 3.0, states={"sex": sex, "view": view, "cardiomegaly": heart}
    )
    found = readings(predictions, rows, SCHEMA)
    values = {name: one.statistic(np.ones((1, 60)))[0] for name, one in found.items()}
    assert values == pytest.approx({"age": 3.0, "sex": 1.0, "view": 1 / 3, "cardiomegaly": 0.5})
    assert [found[name].measure for name in ("age", "sex", "view")] == [
        "years of error",
        "AUROC",
        "balanced accuracy",
    ]
    assert found["sex"].num_known == 59
    assert found["cardiomegaly"].num_positive == 20
    assert found["view"].chance == pytest.approx(1 / 3)


def test_an_attribute_with_too_few_of_a_value_is_not_read() -> None:
    rows = rows_of(60)
    rows[:, SCHEMA.names.index("edema")] = 1
    rows[:4, SCHEMA.names.index("edema")] = 2
    answer = np.full((60, 2), 0.5)
    found = readings(Predictions(age=rows[:, 0], states={"edema": answer}), rows, SCHEMA)
    assert set(found) == {"age"}

"""Control, use in training and subgroups, on answers whose measures are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.conditioning import Metadata, Schema
from model.evaluation.probe import Predictions
from synthesis.evaluation.control import control, half_open
from synthesis.evaluation.estimate import Weights, patient_weights
from synthesis.evaluation.reading import Reading, readings
from synthesis.evaluation.subgroups import Evidence, groups_of, subgroups
from synthesis.evaluation.utility import Readings, utility

SCHEMA = Schema()
NUM = 400


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    """Sex, view and two findings that are independent of one another; ages up to 94 years."""
    rng = np.random.default_rng(3)
    return np.stack(
        [
            SCHEMA.row(
                Metadata(
                    age=float(rng.integers(5, 95)),
                    sex=str(rng.choice(["F", "M"])),
                    view=str(rng.choice(["PA", "AP"])),
                    race=None,
                    site=None,
                    manufacturer=None,
                    findings={
                        "edema": str(rng.choice(["present", "absent"])),
                        "fracture": str(rng.choice(["present", "absent"])),
                    },
                )
            )
            for _ in range(NUM)
        ]
    )


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Two radiographs a patient."""
    return patient_weights(
        np.arange(NUM) // 2, num_resamples=100, generator=np.random.default_rng(0)
    )


def read(rows: NDArray[np.float32], noise: NDArray[np.floating] | float) -> dict[str, Reading]:
    """A classifier that knows the truth, but for noise in its scores."""
    rng = np.random.default_rng(8)
    states = {}
    for name in ("sex", "view", "edema", "fracture"):
        truth = rows[:, SCHEMA.names.index(name)] == 2
        score = 1 / (1 + np.exp(-(2.0 * truth - 1.0 + noise * rng.normal(size=len(rows)))))
        states[name] = np.stack([1 - score, score], axis=1)
    return readings(Predictions(age=rows[:, 0] + 5.0, states=states), rows, SCHEMA)


def test_samples_that_show_what_was_asked_for_as_real_ones_do_have_a_ratio_of_one(
    rows: NDArray[np.float32], weights: Weights
) -> None:
    found = control("all", read(rows, 1.0), read(rows, 1.0), weights)
    assert found.mean_ratio.value == pytest.approx(1.0)
    assert {part.attribute for part in found.attributes} == {
        *("age", "sex", "view"),
        *("edema", "fracture"),
    }
    assert "no difference can be told" in found.verdict


def test_samples_of_shuffled_conditions_are_at_chance_and_the_verdict_says_so(
    rows: NDArray[np.float32], weights: Weights
) -> None:
    shuffled = np.random.default_rng(1).permutation(rows)
    drawn = readings(predictions_of(shuffled), rows, SCHEMA)
    found = control("all", drawn, read(rows, 0.5), weights)
    assert found.mean_drawn.value == pytest.approx(0.5, abs=0.05)
    assert found.mean_real.value > 0.9
    assert "cannot be ruled out" in found.verdict


def predictions_of(rows: NDArray[np.float32]) -> Predictions:
    """What a perfect classifier says of pictures that show these rows."""
    states = {
        name: np.eye(2)[(rows[:, SCHEMA.names.index(name)] == 2).astype(int)]
        for name in ("sex", "view", "edema", "fracture")
    }
    return Predictions(age=rows[:, 0].astype(np.float64), states=states)


def test_an_age_that_is_read_worse_from_samples_has_a_ratio_below_one(
    rows: NDArray[np.float32], weights: Weights
) -> None:
    good, bad = predictions_of(rows), predictions_of(rows)
    drawn = readings(Predictions(age=bad.age + 8.0, states=bad.states), rows, SCHEMA)
    real = readings(Predictions(age=good.age + 4.0, states=good.states), rows, SCHEMA)
    (age,) = (
        one for one in control("all", drawn, real, weights).attributes if one.attribute == "age"
    )
    assert (age.drawn.value, age.real.value, age.ratio.value) == pytest.approx((8.0, 4.0, 0.5))


def test_half_of_what_was_known_is_left_open(rows: NDArray[np.float32]) -> None:
    half = half_open(rows, SCHEMA, np.random.default_rng(0))
    known = np.nan_to_num(half, nan=0.0) > 0
    assert (np.nan_to_num(rows, nan=0.0) > 0)[known].all()
    np.testing.assert_array_equal(half[known], rows[known])
    assert known.sum() / (np.nan_to_num(rows, nan=0.0) > 0).sum() == pytest.approx(0.5, abs=0.05)


def test_use_in_training_compares_the_three_classifiers_and_says_whether_samples_help(
    rows: NDArray[np.float32], weights: Weights
) -> None:
    poor, fair, good = read(rows, 3.0), read(rows, 1.5), read(rows, 0.5)
    found = utility({"synthetic": poor, "real": fair, "both": good}, weights, num_training=50)
    assert found.synthetic.value < found.real.value < found.both.value
    assert found.ratio.value == pytest.approx(found.synthetic.value / found.real.value)
    assert found.gain.value == pytest.approx(found.both.value - found.real.value)
    assert "helps" in found.verdict
    harmed = utility({"synthetic": poor, "real": good, "both": fair}, weights, num_training=50)
    assert "harms" in harmed.verdict


def evidence(rows: NDArray[np.float32], bad: NDArray[np.bool_]) -> Evidence:
    """Samples that are useless for some, and good for the others."""
    return Evidence(
        drawn=read(rows, np.where(bad, 8.0, 0.8)),
        real=read(rows, 0.8),
        drawn_passed=np.stack([~bad, np.ones_like(bad)], axis=1),
        real_passed=np.ones((len(rows), 2), dtype=bool),
        frontal=np.ones(len(rows), dtype=bool),
    )


def classifiers(rows: NDArray[np.float32]) -> Readings:
    """Samples make a weaker classifier."""
    return {"synthetic": read(rows, 2.0), "real": read(rows, 0.8), "both": read(rows, 0.8)}


def test_the_group_that_samples_serve_worst_is_named(
    rows: NDArray[np.float32], weights: Weights
) -> None:
    old = rows[:, 0] >= 80
    members = groups_of(rows, np.zeros(NUM, dtype=np.int64), ("one",), SCHEMA)
    found = subgroups(evidence(rows, old), classifiers(rows), members[:9], weights, min_cell=20)
    assert found.worst == "80 years and over"
    (worst,) = (group for group in found.groups if group.name == found.worst)
    assert worst.plausible.value == 0.0
    assert worst.real_plausible.value == 1.0
    assert worst.difference.interval.high < 0
    assert worst.utility.value < 0
    assert "80 years and over" in found.verdict


def test_groups_below_the_smallest_size_are_counted_and_not_shown(
    rows: NDArray[np.float32], weights: Weights
) -> None:
    members = groups_of(rows, np.zeros(NUM, dtype=np.int64), ("one",), SCHEMA)
    sizes = {name: int(who.sum()) for name, who in members}
    nobody = np.zeros(NUM, dtype=bool)
    found = subgroups(evidence(rows, nobody), classifiers(rows), members, weights, min_cell=30)
    assert {group.name for group in found.groups} == {n for n, size in sizes.items() if size >= 30}
    assert found.num_too_small == sum(size < 30 for size in sizes.values()) > 0
    nothing = subgroups(
        evidence(rows, nobody), classifiers(rows), members, weights, min_cell=NUM + 1
    )
    assert (nothing.groups, nothing.worst) == ((), None)


def test_groups_are_single_attributes_and_their_crossings_and_cover_everybody(
    rows: NDArray[np.float32],
) -> None:
    hospitals = np.arange(NUM) % 2
    members = dict(groups_of(rows, hospitals, ("north", "south"), SCHEMA))
    assert {"F", "M", "PA", "AP", "north", "south", "40 to 59 years"} <= set(members)
    assert "F, 40 to 59 years, PA, north" in members
    crossed = [who for name, who in members.items() if name.count(",") == 3]
    np.testing.assert_array_equal(np.sum(crossed, axis=0), 1)
    one_hospital = dict(groups_of(rows, np.zeros(NUM, dtype=np.int64), ("north",), SCHEMA))
    assert "north" not in one_hospital


def test_a_maker_whose_machines_are_one_hospitals_is_not_a_second_group(
    rows: NDArray[np.float32],
) -> None:
    hospitals = np.arange(NUM) % 2
    taken = rows.copy()
    taken[:, SCHEMA.names.index("manufacturer")] = hospitals + 1
    taken[0, SCHEMA.names.index("manufacturer")] = 3
    members = dict(groups_of(taken, hospitals, ("north", "south"), SCHEMA))
    assert "canon" not in members
    assert {"north", "south", "agfa", "carestream"} <= set(members)

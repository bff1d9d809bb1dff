"""Setting something is not seeing it: what follows from it follows, and the rest of the record stays."""

import math

import numpy as np
import pytest

from model.label_model.graph import Graph
from model.label_model.intervene import RuleBroken, intervene, noise_given
from model.label_model.label_model import LabelModel, Law
from model.label_model.sample import draw

NUM = 20_000
TWO = ("no", "yes")
YES, NO = np.array([0.0, 1.0]), np.array([1.0, 0.0])


def effect(log_odds: float) -> np.ndarray:
    return np.array([[0.0, 0.0], [0.0, log_odds]])


MODEL = LabelModel(
    graph=Graph(
        values=dict.fromkeys(("site", "old", "edema", "tube", "view", "none"), TWO),
        parents={
            "site": (), "old": ("site",), "edema": ("old",), "tube": ("site", "edema"),
            "view": ("tube",), "none": ("edema",),
        },
        none_of=frozenset({"none"}),
    ),
    laws={
        "site": Law(base=np.log([0.5, 0.5])),
        "old": Law(base=np.array([0.0, -1.5]), effects={"site": effect(3.0)}),
        "edema": Law(base=np.array([0.0, -1.0]), effects={"old": effect(1.0)}),
        "tube": Law(base=np.array([0.0, -3.0]), effects={"site": effect(4.0), "edema": effect(1.0)}),
        "view": Law(base=np.array([0.0, -2.0]), effects={"tube": effect(3.0)}),
    },
)  # fmt: skip


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


RECORDS = draw(MODEL, {}, NUM, rng())


def test_what_is_set_does_not_act_on_causes_nor_on_what_it_does_not_reach() -> None:
    after = intervene(MODEL, RECORDS, {"edema": 1}, rng())
    for name in ("site", "old"):
        np.testing.assert_array_equal(after[name], RECORDS[name])
    assert set(after["edema"]) == {1}
    assert (after["tube"] != RECORDS["tube"]).any()
    assert not after["none"].any()


def test_seeing_an_old_patient_tells_of_the_hospital_and_making_one_old_does_not() -> None:
    seen = draw(MODEL, {"old": YES}, NUM, rng(1))["tube"].mean()
    unseen = draw(MODEL, {"old": NO}, NUM, rng(2))["tube"].mean()
    made = intervene(MODEL, RECORDS, {"old": 1}, rng(3))["tube"].mean()
    unmade = intervene(MODEL, RECORDS, {"old": 0}, rng(4))["tube"].mean()
    assert seen - unseen > 0.3
    assert 0.01 < made - unmade < 0.08
    edema = (sigmoid(-1), sigmoid(0))
    for number, found in enumerate(
        (unmade, made)
    ):  # P(tube | do) = sum over hospital and edema, by hand
        by_hand = sum(
            0.5 * (edema[number] * sigmoid(base + 1) + (1 - edema[number]) * sigmoid(base))
            for base in (-3.0, 1.0)
        )
        assert found == pytest.approx(by_hand, abs=5 * 0.5 / math.sqrt(NUM))


def test_setting_what_is_already_so_changes_nothing() -> None:
    for value in (0, 1):
        among = RECORDS["edema"] == value
        after = intervene(MODEL, RECORDS, {"edema": value}, rng(5))
        for name, values in RECORDS.items():
            np.testing.assert_array_equal(after[name][among], values[among])


def test_what_became_likelier_does_not_give_way() -> None:
    after = intervene(MODEL, RECORDS, {"edema": 1}, rng(6))
    was_there = RECORDS["tube"] == 1
    assert after["tube"][was_there].all()
    freed = intervene(MODEL, RECORDS, {"edema": 0}, rng(7))
    assert not freed["tube"][~was_there].any()


def test_only_as_many_records_change_as_have_to() -> None:
    """Of records without edema, tubes rise from s(x) to s(x + 1): that many get one, and nobody loses one."""
    among = (RECORDS["edema"] == 0) & (RECORDS["site"] == 1)
    after = intervene(MODEL, RECORDS, {"edema": 1}, rng(8))
    changed = (after["tube"] != RECORDS["tube"])[among].mean()
    assert changed == pytest.approx(sigmoid(2) - sigmoid(1), abs=5 * 0.4 / math.sqrt(among.sum()))


def test_setting_that_there_is_no_finding_unsets_each_and_reaches_what_they_act_on() -> None:
    after = intervene(MODEL, RECORDS, {"none": 1}, rng(9))
    assert not after["edema"].any()
    assert after["none"].all()
    assert after["tube"].mean() < RECORDS["tube"].mean()


@pytest.mark.parametrize("changes", [{"none": 0}, {"none": 1, "edema": 1}])
def test_a_change_against_the_rule_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(RuleBroken, match="set one of them"):
        intervene(MODEL, RECORDS, changes, rng())


def test_two_changes_at_once_both_hold() -> None:
    after = intervene(MODEL, RECORDS, {"edema": 1, "tube": 0}, rng())
    assert after["edema"].all()
    assert not after["tube"].any()
    assert after["view"].mean() == pytest.approx(sigmoid(-2), abs=0.02)


def test_noise_of_what_was_seen_would_show_it_again() -> None:
    logits = np.log(rng(1).dirichlet(np.ones(5), size=2000))
    values = rng(2).integers(0, 5, 2000)
    noise = noise_given(logits, values, rng(3))
    np.testing.assert_array_equal((logits + noise).argmax(axis=1), values)


def test_noise_of_what_the_law_draws_is_gumbel_noise() -> None:
    logits = np.tile(np.log([0.7, 0.2, 0.1]), (NUM, 1))
    values = rng(1).choice(3, NUM, p=[0.7, 0.2, 0.1])
    noise = noise_given(logits, values, rng(2))
    mean, deviation = 0.5772156649, math.pi / math.sqrt(6)
    for column in noise.T:
        assert column.mean() == pytest.approx(mean, abs=5 * deviation / math.sqrt(NUM))
        assert column.std() == pytest.approx(deviation, rel=0.05)
    correlations = np.corrcoef(noise.T) - np.eye(3)
    assert np.abs(correlations).max() < 5 / math.sqrt(NUM)

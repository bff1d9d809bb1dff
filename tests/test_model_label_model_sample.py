"""Drawing with something given agrees with Bayes' rule by hand, against the arrows as well as along them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.label_model.graph import Graph, NoGraph
from model.label_model.label_model import LabelModel, Labels, Law
from model.label_model.sample import NeverTogether, draw

NUM = 20_000
NO, YES = np.array([1.0, 0.0]), np.array([0.0, 1.0])
TWO = ("no", "yes")


def law(*rows: tuple[float, float], parent: str = "") -> Law:
    """Probabilities of no and yes, a row for each of the parent's values."""
    table = np.log(np.array(rows))
    return Law(base=np.zeros(2), effects={parent: table}) if parent else Law(base=table[0])


def share(labels: Labels, name: str) -> float:
    return float(np.mean(labels[name]))


def near(expected: float, num: int = NUM) -> object:
    """Within five standard errors of a share, twice as wide as picking by weight makes them."""
    return pytest.approx(expected, abs=10 * math.sqrt(expected * (1 - expected) / num))


TEST = LabelModel(
    graph=Graph(values={"ill": TWO, "test": TWO}, parents={"ill": (), "test": ("ill",)}),
    laws={"ill": law((0.9, 0.1)), "test": law((0.8, 0.2), (0.1, 0.9), parent="ill")},
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_given_gives_the_shares_of_the_laws() -> None:
    found = draw(TEST, {}, NUM, rng())
    assert share(found, "ill") == near(0.1)
    assert share(found, "test") == near(0.1 * 0.9 + 0.9 * 0.2)


def test_a_cause_is_drawn_by_bayes_rule_when_its_effect_is_given() -> None:
    found = draw(TEST, {"test": YES}, NUM, rng())
    assert set(found["test"]) == {1}
    assert share(found, "ill") == near(0.09 / (0.09 + 0.18))
    assert share(draw(TEST, {"test": NO}, NUM, rng()), "ill") == near(0.01 / (0.01 + 0.72))


def test_an_effect_is_drawn_by_its_law_when_its_cause_is_given() -> None:
    assert share(draw(TEST, {"ill": YES}, NUM, rng()), "test") == near(0.9)


def test_a_leaning_weighs_a_value_as_often_as_it_says() -> None:
    found = draw(TEST, {"ill": np.array([0.25, 1.0])}, NUM, rng())
    assert share(found, "ill") == near(0.1 / (0.1 + 0.9 * 0.25))


COLLIDER = LabelModel(
    graph=Graph(
        values=dict.fromkeys(("rain", "hose", "wet"), TWO),
        parents={"rain": (), "hose": (), "wet": ("rain", "hose")},
    ),
    laws={
        "rain": law((0.8, 0.2)),
        "hose": law((0.7, 0.3)),
        "wet": Law(
            base=np.array([0.0, -4.0]),
            effects={"rain": np.array([[0.0, 0.0], [0.0, 5.0]]), "hose": np.array([[0.0, 0.0], [0.0, 4.5]])},
        ),
    },
)  # fmt: skip


def by_hand(model: LabelModel, name: str, evidence: dict[str, int]) -> float:
    """P(name = yes | evidence), every combination counted."""
    total, hits = 0.0, 0.0
    for values in itertools.product((0, 1), repeat=len(model.graph.order)):
        record = dict(zip(model.graph.order, values, strict=True))
        if any(record[each] != value for each, value in evidence.items()):
            continue
        labels = {each: np.array([value]) for each, value in record.items()}
        logs = [model.log_probabilities(each, labels, 1)[0, record[each]] for each in record]
        total += math.exp(sum(logs))
        hits += math.exp(sum(logs)) * record[name]
    return hits / total


def test_one_cause_explains_the_other_away() -> None:
    wet = draw(COLLIDER, {"wet": YES}, NUM, rng())
    wet_and_hose = draw(COLLIDER, {"wet": YES, "hose": YES}, NUM, rng())
    assert share(wet, "rain") == near(by_hand(COLLIDER, "rain", {"wet": 1}))
    assert share(wet_and_hose, "rain") == near(by_hand(COLLIDER, "rain", {"wet": 1, "hose": 1}))
    assert share(wet, "rain") > share(wet_and_hose, "rain") + 0.1


@given(seed=st.integers(0, 2**31), at=st.sampled_from([0, 1, 2, 3]), value=st.sampled_from([0, 1]))
def test_whatever_is_given_the_rest_agrees_with_counting_every_combination(
    seed: int, at: int, value: int
) -> None:
    numbers, names = rng(seed), ("a", "b", "c", "d")
    parents = {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("b", "c")}
    laws = {
        name: Law(
            base=numbers.normal(size=2),
            effects={each: numbers.normal(size=(2, 2)) for each in parents[name]},
        )
        for name in names
    }
    model = LabelModel(graph=Graph(values=dict.fromkeys(names, TWO), parents=parents), laws=laws)
    found = draw(model, {names[at]: YES if value else NO}, 4000, numbers)
    for name in names:
        assert share(found, name) == near(by_hand(model, name, {names[at]: value}), 4000)


RULE = LabelModel(
    graph=Graph(
        values=dict.fromkeys(("edema", "fracture", "none"), TWO),
        parents={"edema": (), "fracture": ("edema",), "none": ("edema", "fracture")},
        none_of=frozenset({"none"}),
    ),
    laws={"edema": law((0.01, 0.99)), "fracture": law((0.2, 0.8), (0.5, 0.5), parent="edema")},
)


def test_what_is_none_of_others_is_so_in_every_record_and_given_forces_them() -> None:
    free = draw(RULE, {}, NUM, rng())
    np.testing.assert_array_equal(free["none"], 1 - (free["edema"] | free["fracture"]))
    forced = draw(RULE, {"none": YES}, NUM, rng())
    assert share(forced, "edema") == share(forced, "fracture") == 0
    some = draw(RULE, {"none": NO, "edema": NO}, NUM, rng())
    assert share(some, "fracture") == 1


def test_what_excludes_itself_is_refused() -> None:
    with pytest.raises(NeverTogether, match="hardly ever occurs together"):
        draw(RULE, {"none": YES, "edema": YES}, 10, rng())


def test_a_rare_combination_is_drawn_until_there_are_enough_of_it() -> None:
    rare = LabelModel(
        graph=TEST.graph,
        laws={"ill": law((0.999, 0.001)), "test": law((0.999, 0.001), (0.5, 0.5), parent="ill")},
    )
    found = draw(rare, {"test": YES}, 2000, rng())
    assert share(found, "ill") == near(0.0005 / (0.0005 + 0.000999), 200)


def test_the_same_seed_draws_the_same_records() -> None:
    one, two = (draw(COLLIDER, {"wet": YES}, 50, rng(7)) for _ in range(2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])
    assert any(
        (values != draw(COLLIDER, {"wet": YES}, 50, rng(8))[n]).any() for n, values in one.items()
    )


def test_a_graph_reaches_what_its_arrows_reach_and_nothing_else() -> None:
    graph = COLLIDER.graph
    assert graph.descendants({"rain"}) == {"wet"}
    assert graph.descendants({"wet"}) == frozenset()
    with pytest.raises(NoGraph, match=r"a -> b -> a|b -> a -> b"):
        Graph(values={"a": TWO, "b": TWO}, parents={"a": ("b",), "b": ("a",)})

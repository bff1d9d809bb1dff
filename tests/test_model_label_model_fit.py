"""A model fitted to counts is the one that made them, as far as the counts tell; where they do not, it is modest."""

import itertools

import numpy as np
import pytest

import model.label_model.crowd
from model.label_model.crowd import Crowd
from model.label_model.fit import Fitted, fit
from model.label_model.graph import Graph
from model.label_model.label_model import Law
from model.label_model.margins import unexplained
from model.label_model.matching import EVERYBODY, MAX_EFFECT, Margin, match
from model.label_model.sample import draw
from model.label_model.tables import SiteTables, association

TWO = ("no", "yes")
NAMES = ("old", "heart", "edema", "tube")
PARENTS = {"old": (), "heart": ("old",), "edema": ("old", "heart"), "tube": ("old", "edema")}
LOG_ODDS = {("old", "heart"): 1.5, ("old", "edema"): 0.5, ("heart", "edema"): 2.0, ("old", "tube"): 0.0, ("edema", "tube"): -1.5}  # fmt: skip
GRAPH = Graph(
    values=dict.fromkeys(("site", *NAMES), TWO),
    parents={"site": ()} | {name: ("site", *parents) for name, parents in PARENTS.items()},
)


@pytest.fixture(autouse=True)
def small_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.label_model.crowd, "NUM_DRAWS", 4000)


def tables_of(base: float, old: float, *, num: float = 1e6) -> SiteTables:
    """What a hospital of the true law would count on average, to the last fraction."""
    shape = (2,) * len(NAMES)
    joint = np.zeros(shape)
    for record in itertools.product((0, 1), repeat=len(NAMES)):
        values, probability = dict(zip(NAMES, record, strict=True)), num
        for name, value in values.items():
            odds = np.exp(
                old
                if name == "old"
                else base + sum(LOG_ODDS[each, name] * values[each] for each in PARENTS[name])
            )
            probability *= (odds if value else 1) / (1 + odds)
        joint[record] = probability
    axes = range(len(NAMES))
    return SiteTables(
        num_patients=num,
        counts={name: joint.sum(axis=tuple(a for a in axes if a != at)) for at, name in enumerate(NAMES)},
        pairs={
            (one, two): joint.sum(
                axis=tuple(a for a in axes if NAMES[a] not in {one, two})
            )
            for two in NAMES
            for one in PARENTS[two]
        },
    )  # fmt: skip


def fitted(**hospitals: SiteTables) -> Fitted:
    graph = Graph(values=dict(GRAPH.values) | {"site": tuple(hospitals)}, parents=GRAPH.parents)
    return fit(graph, hospitals, "site", np.random.default_rng(0))


def log_odds(law: Law, parent: str) -> float:
    effect = law.effects[parent]
    return float(effect[1, 1] - effect[1, 0] - effect[0, 1] + effect[0, 0])


def without(tables: SiteTables, *names: str) -> SiteTables:
    return SiteTables(
        num_patients=tables.num_patients,
        counts={name: each for name, each in tables.counts.items() if name not in names},
        pairs={ends: each for ends, each in tables.pairs.items() if not set(ends) & set(names)},
    )


NORTH, SOUTH = tables_of(-2.0, -1.0), tables_of(-1.0, 1.0, num=5e5)


def test_the_law_that_made_the_counts_is_found() -> None:
    found = fitted(north=NORTH, south=SOUTH).model
    for (parent, child), truth in LOG_ODDS.items():
        assert log_odds(found.laws[child], parent) == pytest.approx(truth, abs=0.15)
    assert log_odds(found.laws["heart"], "site") == pytest.approx(1.0, abs=0.05)


def test_records_of_a_hospital_have_its_shares_and_its_associations() -> None:
    found = fitted(north=NORTH, south=SOUTH).model
    drawn = draw(found, {"site": np.array([0.0, 1.0])}, 20_000, np.random.default_rng(1))
    for name in NAMES:
        counts = SOUTH.counts[name]
        assert drawn[name].mean() == pytest.approx(counts[1] / counts.sum(), abs=0.02)
    for (one, two), table in SOUTH.pairs.items():
        both = (drawn[one] & drawn[two]).mean()
        assert both == pytest.approx(table[1, 1] / table.sum(), abs=0.02)


def test_what_differs_between_hospitals_only_is_no_effect_of_age() -> None:
    """Old patients lie in the hospital that drains everybody, and within neither does age matter."""

    def hospital(old: float, tube: float) -> SiteTables:
        counts = {"old": np.array([1 - old, old]) * 1e4, "tube": np.array([1 - tube, tube]) * 1e4}
        pair = np.outer(counts["old"], counts["tube"]) / 1e4
        return SiteTables(num_patients=1e4, counts=counts, pairs={("old", "tube"): pair})

    young, old = hospital(0.1, 0.1), hospital(0.9, 0.8)
    found = fitted(young=young, old=old)
    assert abs(log_odds(found.model.laws["tube"], "old")) < 0.01
    assert found.kept["old", "tube"] == 0.0
    together = young.pairs["old", "tube"] + old.pairs["old", "tube"]
    assert together[1, 1] * together[0, 0] / (together[0, 1] * together[1, 0]) > 10


def test_an_arrow_without_a_table_has_no_effect_and_every_hospital_its_own_shares() -> None:
    bare = SiteTables(num_patients=NORTH.num_patients, counts=NORTH.counts, pairs={})
    found = fitted(north=bare)
    assert found.kept == {}
    drawn = draw(found.model, {}, 20_000, np.random.default_rng(1))
    assert drawn["edema"].mean() == pytest.approx(NORTH.counts["edema"][1] / 1e6, abs=0.02)
    assert set(found.model.laws["edema"].effects) == {"site"}


def test_a_hospital_that_did_not_count_an_attribute_is_taken_to_be_like_the_others() -> None:
    found = fitted(north=NORTH, south=without(SOUTH, "tube")).model
    drawn = draw(found, {"site": np.array([0.0, 1.0])}, 20_000, np.random.default_rng(1))
    assert drawn["tube"].mean() == pytest.approx(NORTH.counts["tube"][1] / 1e6, abs=0.02)


def test_an_attribute_that_nobody_counted_is_not_in_the_model() -> None:
    found = fitted(north=without(NORTH, "tube"), south=without(SOUTH, "tube")).model
    assert "tube" not in found.graph.values
    assert "tube" not in draw(found, {}, 5, np.random.default_rng(0))


def test_tables_of_one_hospital_serve_all_and_bend_no_others_shares() -> None:
    bare = SiteTables(num_patients=SOUTH.num_patients, counts=SOUTH.counts, pairs={})
    found = fitted(north=NORTH, south=bare).model
    assert log_odds(found.laws["edema"], "heart") == pytest.approx(2.0, abs=0.2)
    drawn = draw(found, {"site": np.array([0.0, 1.0])}, 20_000, np.random.default_rng(1))
    assert drawn["edema"].mean() == pytest.approx(SOUTH.counts["edema"][1] / 5e5, abs=0.02)


def chance_tables(rng: np.random.Generator, num: int, log_odds: float, noise: float) -> SiteTables:
    """Counts of a hospital's patients, drawn, and noised."""
    old = rng.random(num) < 0.5
    tube = rng.random(num) < 1 / (1 + np.exp(1 - log_odds * old))
    pair = np.array([[np.sum((old == a) & (tube == b)) for b in (0, 1)] for a in (0, 1)], float)
    pair += rng.normal(scale=noise, size=(2, 2)) if noise else 0.0
    counts = {"old": pair.sum(axis=1), "tube": pair.sum(axis=0)}
    return SiteTables(
        num_patients=float(num),
        counts=counts,
        pairs={("old", "tube"): pair},
        noise_variance=noise**2,
    )


@pytest.mark.parametrize("noise", [0.0, 100.0])
def test_of_what_chance_or_noise_alone_made_little_is_kept_and_of_the_rest_nearly_all(
    noise: float,
) -> None:
    rng = np.random.default_rng(4)

    def kept(truth: float, num: int) -> float:
        tables = (chance_tables(rng, num, truth, noise) for _ in range(40))
        return float(
            np.mean([unexplained([association(each, ("old", "tube"))]) for each in tables])
        )

    assert kept(0.0, 2000) < 0.1
    assert kept(1.0, 20_000) > 0.95


def test_noise_that_goes_unsaid_would_be_taken_for_an_association() -> None:
    rng, arrow = np.random.default_rng(4), ("old", "tube")
    noised = [chance_tables(rng, 2000, 0.0, 100.0) for _ in range(40)]
    silent = [SiteTables(num_patients=2000.0, counts=n.counts, pairs=n.pairs) for n in noised]
    said, unsaid = (
        np.mean([unexplained([association(each, arrow)]) for each in some])
        for some in (noised, silent)
    )
    assert said < 0.1
    assert unsaid > 0.4


def crowd_of(weights: list[float]) -> Crowd:
    """Four kinds of parents, p and q."""
    labels = {"site": np.zeros(4, int), "p": np.array([0, 0, 1, 1]), "q": np.array([0, 1, 0, 1])}
    return Crowd(site="site", labels=labels, weights=np.array(weights))


def margins(p: list[list[float]], q: list[list[float]]) -> list[Margin]:
    told = np.ones(1, dtype=np.bool_)
    everybody = np.array(p).sum(axis=0, keepdims=True)
    return [
        Margin(parent=EVERYBODY, target=everybody, is_told=told),
        Margin(parent="p", target=np.array(p), is_told=told),
        Margin(parent="q", target=np.array(q), is_told=told),
    ]


def test_all_margins_come_out_at_once_although_the_parents_go_together() -> None:
    crowd = crowd_of([0.4, 0.1, 0.1, 0.4])
    p, q = [[0.4, 0.1], [0.3, 0.2]], [[0.38, 0.12], [0.32, 0.18]]
    law = match(crowd, margins(p, q))
    logits = law.base + law.effects["p"][crowd.labels["p"]] + law.effects["q"][crowd.labels["q"]]
    shown = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) * crowd.weights[:, None]
    for parent, target in (("p", p), ("q", q)):
        for value in (0, 1):
            sums = shown[crowd.labels[parent] == value].sum(axis=0)
            np.testing.assert_allclose(sums, target[value], atol=1e-4)


def test_margins_that_contradict_each_other_end_in_bounded_effects() -> None:
    crowd = crowd_of([0.5, 0.0, 0.0, 0.5])
    law = match(crowd, margins([[0.5, 0.0001], [0.0001, 0.5]], [[0.0001, 0.5], [0.5, 0.0001]]))
    assert all(np.abs(effect).max() <= MAX_EFFECT for effect in law.effects.values())

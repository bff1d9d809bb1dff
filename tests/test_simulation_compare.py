"""What the federation is measured against: trained once, kept, and measured on the same radiographs."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from client.cache.records import open_cache
from federation.schedule import derive_seed
from model.arrays import load_arrays
from model.generate import open_generator
from server.store import StudyStore
from simulation.alone import build_network, fresh_weights, loss_on, train_alone
from simulation.compare import POOLED, Comparison, compare, train_alternatives
from simulation.config import SimulationConfig
from simulation.layout import Layout
from simulation.summary import Summary

pytestmark = pytest.mark.slow

Plan = Callable[..., SimulationConfig]
Simulated = tuple[Path, Summary, list[str]]
NAMES = ["hospital-a", "hospital-b"]
NUMBERS = {"hospital-a": 1, "hospital-b": 2}


def test_each_alternative_is_the_training_of_its_own_records(
    mini_simulation: Simulated, mini_plan: Plan
) -> None:
    layout, study = Layout(mini_simulation[0]), mini_plan().study
    for name in NAMES:
        records = open_cache(layout.cache(name)).at_site(NUMBERS[name])
        trained = train_alone(study, records, name)
        kept = load_arrays(layout.alone(name))
        assert trained.keys() == kept.keys()
        for tensor in kept:
            np.testing.assert_array_equal(trained[tensor], kept[tensor])
    assert layout.alone(POOLED).is_file()


def test_trained_alternatives_are_kept(
    mini_simulation: Simulated, mini_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(mini_simulation[0])
    before = {path: path.stat().st_mtime_ns for path in layout.alone("x").parent.iterdir()}

    def never(_: str) -> NoReturn:
        raise AssertionError("a process is started")

    monkeypatch.setattr("simulation.compare.get_context", never)
    study = mini_plan().study
    train_alternatives(study, NAMES, layout, StudyStore.create(layout.coordinator, study))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(path.stem for path in before) == [*NAMES, POOLED]


def test_every_loss_is_of_the_model_it_is_said_to_be_of(
    mini_simulation: Simulated, mini_plan: Plan
) -> None:
    out, summary, _ = mini_simulation
    layout, study, said = Layout(out), mini_plan().study, summary.comparison
    held_out = open_cache(layout.held_out / "state" / "cache")
    seed = derive_seed(study, "comparison")

    def loss_of_arrays(path: Path) -> float:
        return loss_on(build_network(study, load_arrays(path)), held_out, seed=seed)

    model = open_generator(out / "model").network
    adapted = open_generator(out / "model", out / "adapter").network
    start = build_network(study, fresh_weights(study))
    assert said.untrained == loss_on(start, held_out, seed=seed)
    assert said.federated == loss_on(model, held_out, seed=seed)
    assert said.adapted == loss_on(adapted, held_out, seed=seed)
    assert said.alone == {name: loss_of_arrays(layout.alone(name)) for name in NAMES}
    assert said.pooled == loss_of_arrays(layout.alone(POOLED))
    assert len({said.untrained, said.federated, said.adapted, said.pooled}) == 4


def test_a_study_without_adapter_has_no_adapted_loss(
    mini_simulation: Simulated, mini_plan: Plan, memory_path: Path
) -> None:
    out = shutil.copytree(mini_simulation[0], memory_path / "out")
    layout, plan = Layout(out), mini_plan()
    store = StudyStore.create(layout.coordinator, plan.study)
    shutil.rmtree(store.folder / "adapter")
    result = compare(plan, store, NAMES, layout, lambda _: None)
    assert result.adapted is None
    assert result.federated == mini_simulation[1].comparison.federated


def test_the_gain_is_counted_from_no_training_to_pooling() -> None:
    losses = {"untrained": 2.0, "adapted": None, "pooled": 1.0, "alone": {"b": 1.7, "a": 1.6}}

    def share(federated: float) -> float:
        found = Comparison(federated=federated, **losses).share_of_pooled_gain  # type: ignore[arg-type]
        assert found is not None
        return found

    assert (share(2.0), share(1.5), share(1.0)) == (0.0, 0.5, 1.0)
    assert share(0.9) > 1.0
    assert share(2.5) < 0.0
    assert Comparison(federated=1.5, **losses).best_alone == "a"  # type: ignore[arg-type]


def test_nothing_is_trained_to_compare_with_if_that_is_not_wanted(
    mini_simulation: Simulated, mini_plan: Plan, memory_path: Path
) -> None:
    out = shutil.copytree(mini_simulation[0], memory_path / "out")
    layout, plan = Layout(out), replace(mini_plan(), compare=False)
    shutil.rmtree(layout.alone("x").parent)
    store = StudyStore.create(layout.coordinator, plan.study)
    result = compare(plan, store, NAMES, layout, lambda _: None)
    assert not layout.alone("x").parent.exists()
    assert (result.pooled, result.alone, result.best_alone) == (None, {}, None)
    assert (result.share_of_pooled_gain, result.share_of_way_to_pooled) == (None, None)
    assert result.federated == mini_simulation[1].comparison.federated

"""Private training over the real programs: every parameter first, then an adapter, each paid for at each hospital."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from federation.privacy_terms import PrivacyTerms
from federation.stages import FullStage, LocalTraining, LoraStage
from model.arrays import load_arrays
from server.store import StudyStore
from simulation.config import Budget, SimulationConfig
from simulation.layout import Layout
from simulation.run import run_simulation

pytestmark = [pytest.mark.slow, pytest.mark.federation]

Command = Callable[..., tuple[int, str, str]]
TERMS = PrivacyTerms(
    noise_multiplier=2.0, sample_rate=0.5, max_grad_norm=0.1, loss_noise_multiplier=2.0
)
LOCAL = LocalTraining(local_steps=2, batch_size=4, learning_rate=1e-3, privacy=TERMS)
NAMES = ["hospital-a", "hospital-b"]


def test_both_kinds_of_stages_train_privately_and_every_round_is_in_the_ledger(
    mini_plan: Callable[..., SimulationConfig],
    memory_path: Path,
    fedcxr: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("simulation.pictures.NUM_STEPS", 1)
    usual = mini_plan()
    stages = (
        FullStage(kind="full", num_rounds=2, local=LOCAL),
        LoraStage(kind="lora", num_rounds=1, local=LOCAL, rank=2, alpha=2.0),
    )
    plan = replace(
        usual,
        study=replace(usual.study, stages=stages),
        compare=False,
        budget=Budget(max_epsilon=20.0, delta=1e-3),
    )
    said: list[str] = []
    summary = run_simulation(
        plan, memory_path, engine="processes", say=said.append, command="again"
    )
    layout = Layout(memory_path)
    store = StudyStore.create(layout.coordinator, plan.study)
    parts = store.parts()
    assert {(part.number, part.site) for part in parts if part.state == "admitted"} == {
        (number, name) for number in (1, 2, 3) for name in NAMES
    }
    for part in parts:
        assert part.held_out_loss is None or math.isnan(part.held_out_loss)
        assert (part.num_records, part.num_files, part.seconds) == (0, 0, 0.0)
    assert any(
        tensor.any()
        for tensor in load_arrays(store.folder / "adapter" / "model.safetensors").values()
    )
    assert summary.comparison.pooled is None
    for name in NAMES:
        code, out, _ = fedcxr("hospital", "ledger", layout.profile(name), "--json")
        facts = json.loads(out)
        assert code == 0
        assert [charge["state"] for charge in facts["charges"]] == ["settled"] * 3
        assert 0 < facts["epsilon"] <= 20.0
        assert [receipt["round_number"] for receipt in facts["receipts"]] == [1, 2]
        assert fedcxr("hospital", "ledger", layout.profile(name), "--verify")[0] == 0
        code, out, _ = fedcxr("hospital", "audit", "verify", layout.profile(name), "--json")
        assert (code, json.loads(out)["witnessed"]["round_number"]) == (0, 2)
        where = ("--state", layout.coordinator, "--json")
        seen = json.loads(fedcxr("coordinator", "witness", name, *where)[1])
        assert (seen["witnessed"][-1]["round_number"], seen["breaks"]) == (3, [])
        read_out = ("--head", seen["witnessed"][-1]["digest"][:16])
        assert fedcxr("hospital", "audit", "verify", layout.profile(name), *read_out)[0] == 0

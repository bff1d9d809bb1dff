"""Flower's simulation engine: the same study, the same bits, and nothing told to anyone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import simulation.ray_engine
from federation.config import study_json
from federation.stages import FullStage, LocalTraining
from server.store import StudyStore
from simulation.config import SimulationConfig
from simulation.layout import Layout
from simulation.prepare import prepare
from simulation.ray_engine import EngineMissing, run_over_ray

Plan = Callable[..., SimulationConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=2, learning_rate=1e-3)
STAGE = FullStage(kind="full", num_rounds=1, local=LOCAL)
RUN = """
import json, sys
from pathlib import Path
from federation.config import parse_study
from simulation.layout import Layout
from simulation.ray_engine import run_over_ray
out, study, names = json.loads(sys.argv[1])
looks = []
run_over_ray(parse_study(study), names, Layout(Path(out)), on_change=looks.append)
from flwr.supercore import telemetry
assert (len(looks), telemetry.FLWR_TELEMETRY_ENABLED) == (1, "0")
assert "opacus" not in sys.modules  # loads for seconds, and this study is not private
"""


def test_without_ray_the_engine_says_how_to_install_it(
    mini_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation.ray_engine, "find_spec", lambda _: None)
    with pytest.raises(EngineMissing, match="the engine ray is not installed: type `pip install"):
        run_over_ray(mini_plan().study, ["a"], Layout(tmp_path), on_change=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.federation
def test_ray_gives_the_same_bits_as_hospitals_asked_one_after_the_other(
    mini_plan: Plan, federate_in_process: Callable[..., StudyStore], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the optional engine is not installed")
    plan = mini_plan(STAGE, num_sites=3)
    layout, other = Layout(tmp_path / "plain"), Layout(tmp_path / "ray")
    names = prepare(layout, plan, lambda _: None)
    shutil.copytree(layout.out, other.out)
    plainly = federate_in_process(plan.study, names, layout, on_change=lambda _: None)
    what = json.dumps([str(other.out), study_json(plan.study), names])
    ended = subprocess.run(
        [sys.executable, "-c", RUN, what],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    stores = (StudyStore.create(other.coordinator, plan.study), plainly)
    (ray,), (plain,) = (store.rounds() for store in stores)
    assert (ray.num_sites, plain.num_sites) == (3, 3)
    assert ray.digest == plain.digest
    assert all(store.fact("finished") for store in stores)

"""A simulation from end to end over an engine without processes: everything promised is there, nothing is done twice."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

import simulation.run
from model.generate import open_generator
from server.store import StudyStore
from simulation.config import SimulationConfig
from simulation.layout import Layout
from simulation.run import OtherSimulation, UnknownEngine, claim, run_simulation
from simulation.summary import Summary

pytestmark = pytest.mark.slow

Plan = Callable[..., SimulationConfig]
Engine = Callable[..., StudyStore]
Simulated = tuple[Path, Summary, list[str]]
SAMPLES, REST = "samples.png", ("losses.png", "comparison.png")


def test_all_promised_files_are_there(mini_simulation: Simulated) -> None:
    out, _, _ = mini_simulation
    for name in (SAMPLES, *REST, "report.html"):
        assert (out / name).stat().st_size > 1000
    network = open_generator(out / "model", out / "adapter").network
    assert network.config.image_size == 16
    assert (out / "adapter" / "adapter_config.json").is_file()


def test_the_pictures_have_the_proportions_of_what_they_show(mini_simulation: Simulated) -> None:
    out, _, _ = mini_simulation
    with Image.open(out / SAMPLES) as sheet:
        assert 1.7 < sheet.width / sheet.height < 2.1  # eight columns by four rows, and their names
        assert len(set(sheet.convert("L").tobytes())) > 50
    for name in REST:
        with Image.open(out / name) as picture:
            picture.load()
            assert picture.width > 2 * picture.height


def test_a_person_is_told_each_step_once(mini_simulation: Simulated) -> None:
    _, _, said = mini_simulation
    starts = ["hospital-a: 6 of", "hospital-b: 6 of", "held-out set: 5 of 5"]
    starts += ["federation: 2 hospitals, 2 rounds, engine processes"]
    starts += [
        "round 1 of 2: 2 hospitals",
        "round 2 of 2: 2 hospitals",
        "comparison:",
        "comparison:",
    ]
    assert len(said) == len(starts)
    for line, start in zip(said, starts, strict=True):
        assert line.startswith(start)


def test_typed_again_finished_work_is_not_done_again(
    mini_simulation: Simulated, mini_plan: Plan, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, before, _ = mini_simulation
    out = shutil.copytree(done, memory_path / "out")
    (out / "report.html").unlink()

    def never(*_: object, **__: object) -> NoReturn:
        raise AssertionError("finished work is done again")

    monkeypatch.setitem(simulation.run.ENGINES, "processes", never)
    monkeypatch.setattr("simulation.prepare.ingest", never)
    monkeypatch.setattr("simulation.compare.get_context", never)
    monkeypatch.setattr("simulation.pictures.NUM_STEPS", 1)
    said: list[str] = []
    summary = run_simulation(
        mini_plan(), out, engine="processes", say=said.append, command="the same"
    )
    assert summary.comparison == before.comparison
    assert [line.split(":")[0] for line in said] == ["comparison", "comparison"]
    assert (out / "report.html").is_file()


def test_an_interruption_says_how_to_go_on_and_then_the_rest_is_done(
    mini_plan: Plan, federate_in_process: Engine, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_runs = []

    def interrupt(*_: object, **__: object) -> NoReturn:
        engine_runs.append(1)
        raise KeyboardInterrupt

    def go_on(*arguments: object, **options: object) -> StudyStore:
        federate_in_process(*arguments, **options)
        raise KeyboardInterrupt  # at the last moment

    said: list[str] = []
    for engine in (interrupt, go_on):
        monkeypatch.setitem(simulation.run.ENGINES, "processes", engine)
        with pytest.raises(KeyboardInterrupt):
            run_simulation(
                mini_plan(),
                memory_path / "out",
                engine="processes",
                say=said.append,
                command="fedcxr simulate x.yaml",
            )
        assert said[-1].endswith("To go on, type: fedcxr simulate x.yaml")
    assert len([line for line in said if line.startswith("hospital-a: ")]) == 1
    store = StudyStore.create(Layout(memory_path / "out").coordinator, mini_plan().study)
    assert store.fact("finished")


def test_a_folder_belongs_to_one_simulation(mini_plan: Plan, memory_path: Path) -> None:
    out = memory_path / "out"
    claim(out, mini_plan())
    assert claim(out, mini_plan()).out == out
    with pytest.raises(OtherSimulation, match="give a new folder with --out"):
        claim(out, mini_plan(seed=2))


def test_a_folder_with_anything_else_in_it_is_not_claimed(
    mini_plan: Plan, memory_path: Path
) -> None:
    (memory_path / "full").mkdir()
    (memory_path / "full" / "mine.txt").touch()
    with pytest.raises(OtherSimulation):
        claim(memory_path / "full", mini_plan())
    assert [path.name for path in (memory_path / "full").iterdir()] == ["mine.txt"]
    (memory_path / "empty").mkdir()
    assert claim(memory_path / "empty", mini_plan()).out == memory_path / "empty"


def test_an_unknown_engine_is_refused_before_the_folder_is_touched(
    mini_plan: Plan, memory_path: Path
) -> None:
    with pytest.raises(UnknownEngine, match="give one of processes, ray"):
        run_simulation(mini_plan(), memory_path / "x", engine="no", say=lambda _: None, command="")
    assert not (memory_path / "x").exists()

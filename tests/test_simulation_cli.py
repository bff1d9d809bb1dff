"""The researcher's commands: phantoms, a mistake in one sentence, an interruption that can be resumed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

import simulation.run
from server.records import RoundRecord
from server.store import StudyStore
from simulation.config import load_simulation
from simulation.layout import Layout

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
PLAN = """\
study:
  name: mini
  seed: 1
  model: {size: tiny, image_size: 16}
  rounds: {num_sites: 2, min_sites: 2, retry_seconds: 0.1}
  stages:
    - {kind: full, num_rounds: 2, local: {local_steps: 2, batch_size: 2, learning_rate: 1.0e-3}}
sites:
  - &site
    {name: a, seed: 1, num_records: 3, num_broken: 0, modality: DX, manufacturer: SIEMENS, bits: 12,
     photometric: MONOCHROME2, style: plain, view_mix: {PA: 1.0}, female_share: 0.5, age_mean: 40,
     age_sd: 10, prevalence: {edema: 0.5}}
  - {<<: *site, name: b}
held_out: {num_records: 3, seed: 9}
compare: false
phantom_size: 32
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "mini.yaml"
    path.write_text(PLAN)
    return path


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_phantom_writes_the_same_bytes_twice(fedcxr: Command, tmp_path: Path) -> None:
    options = ("--sites", 2, "--records", 2, "--image-size", 32)
    code, out, err = fedcxr("phantom", tmp_path / "1", *options)
    assert (code, err) == (0, "")
    assert out == "hospital-a: 8 files\nhospital-b: 8 files\n"
    code, out, _ = fedcxr("phantom", tmp_path / "2", *options, "--json")
    (line,) = out.splitlines()
    assert json.loads(line) == {"hospitals": {"hospital-a": 8, "hospital-b": 8}}
    first = all_bytes(tmp_path / "1")
    assert first == all_bytes(tmp_path / "2")
    assert {name.split("/")[0] for name in first} == {"hospital-a", "hospital-b"}
    fedcxr("phantom", tmp_path / "3", *options, "--seed", 2)
    assert first != all_bytes(tmp_path / "3")


def test_phantom_cannot_be_written_into_a_file(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be used" in refused("phantom", tmp_path / "file", "--records", 1)


def test_an_unknown_key_in_a_simulation_is_named_and_nothing_is_written(
    refused: Refused, plan: Path, tmp_path: Path
) -> None:
    plan.write_text(PLAN + "phantom_sise: 64\n")
    message = refused("simulate", plan, "--out", tmp_path / "out")
    assert message.splitlines() == [
        f"{plan} cannot be used:",
        "  phantom_sise: Unexpected keyword argument",
    ]
    assert not (tmp_path / "out").exists()


def test_an_unknown_engine_is_refused_and_nothing_is_written(
    refused: Refused, plan: Path, tmp_path: Path
) -> None:
    message = refused("simulate", plan, "--out", tmp_path / "out", "--engine", "threads")
    assert message == "there is no engine 'threads': give one of processes, ray\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(
    refused: Refused, plan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter-1.txt").write_text("dear to me")
    message = refused("simulate", plan, "--out", out)
    assert message.startswith(f"{out} holds ")
    assert all_bytes(out) == {"chapter-1.txt": b"dear to me"}
    assert "cannot be used" in refused("simulate", plan, "--out", out / "chapter-1.txt")


def test_an_interrupted_simulation_ends_with_130_and_says_what_to_type(
    fedcxr: Command, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setitem(simulation.run.ENGINES, "ray", interrupt)
    out = tmp_path / "out"
    code, said, err = fedcxr("simulate", plan, "--out", out, "--engine", "ray")
    assert (code, err) == (130, "")
    assert said.splitlines()[-1] == (
        "stopped, and every program with it; finished rounds are kept. "
        f"To go on, type: fedcxr simulate {plan} --out {out} --engine ray"
    )


@pytest.mark.slow
@pytest.mark.federation
def test_ctrl_c_ends_every_program_and_the_same_command_goes_on(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "cli", "simulate", str(plan), "--out", str(out)]
    first = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert first.stdout is not None
    said: list[str] = []
    for line in first.stdout:
        said.append(line)
        if line.startswith("round 1 of 2"):
            break
    assert len(programs_of(out)) > 4
    os.killpg(first.pid, signal.SIGINT)
    rest, complaints = first.communicate(timeout=60)
    last = (rest or said[-1]).splitlines()[-1]
    assert (first.returncode, complaints) == (130, "")
    assert last.startswith("stopped, and every program with it; finished rounds are kept.")
    assert last.endswith(f"type: fedcxr simulate {plan} --out {out}")
    assert programs_of(out) == []
    committed = rounds_in(plan, out)
    assert committed

    second = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert (second.returncode, second.stderr) == (0, "")
    assert "Loss on balanced held-out radiographs" in second.stdout
    rounds = rounds_in(plan, out)
    assert [record.number for record in rounds] == [1, 2]
    assert rounds[: len(committed)] == committed
    assert (out / "report.html").is_file()
    assert programs_of(out) == []


def rounds_in(plan: Path, out: Path) -> list[RoundRecord]:
    return StudyStore.create(Layout(out).coordinator, load_simulation(plan).study).rounds()


def programs_of(out: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(out) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(words)
    return found

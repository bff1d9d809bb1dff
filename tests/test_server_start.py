"""The weights that a stage starts from."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.config import StudyConfig
from federation.stages import FullStage, LocalTraining, LoraStage
from model.adapter import adapter_shapes
from model.arrays import Arrays, WrongModelFile, digest_arrays
from model.checkpoint import network_shapes
from model.conditioning import Schema
from model.folder import save_model
from model.manifest import Manifest
from model.tensors import as_tensors
from server.room import NoRoom
from server.start import WrongStart, starting_weights, take_start
from server.store import StudyStore

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=1, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=1, local=LOCAL, rank=2, alpha=2.0)


def adapting(study: StudyConfig, digest: str) -> StudyConfig:
    """The study with nothing but an adapter to the model that has this digest."""
    return replace(study, model=replace(study.model, start=digest), stages=(LORA,))


@pytest.fixture
def model(tmp_path: Path, random_weights: Arrays, toy_manifest: Manifest) -> Path:
    save_model(tmp_path / "given", random_weights, toy_manifest)
    return tmp_path / "given"


def test_a_study_starts_from_weights_that_its_seed_fixes(
    study_of: StudyOf, memory_path: Path
) -> None:
    one, two, other = (
        starting_weights(study_of(FULL, seed=seed), 0, None, memory_path / name)
        for name, seed in (("one", 1), ("two", 1), ("other", 2))
    )
    assert digest_arrays(one) == digest_arrays(two) != digest_arrays(other)
    assert one.shapes == network_shapes(study_of(FULL).model_config, Schema())
    assert sorted(path.name for path in memory_path.iterdir()) == ["one", "other", "two"]


def test_a_further_full_stage_goes_on_from_the_one_before(
    study_of: StudyOf, tmp_path: Path, random_weights: Arrays
) -> None:
    before = as_tensors(random_weights)
    assert starting_weights(study_of(FULL, FULL), 1, before, tmp_path / "new") is before
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_starts_without_effect(
    study_of: StudyOf, tmp_path: Path, random_weights: Arrays
) -> None:
    study = study_of(FULL, LORA)
    adapter = starting_weights(study, 1, as_tensors(random_weights), tmp_path / "adapter")
    assert adapter.shapes == adapter_shapes(study.model_config, LORA.adapter)
    assert all(np.any(tensor) == (".lora_A." in name) for name, tensor in adapter.items())


def test_first_weights_that_do_not_fit_on_the_disk_are_not_begun(
    study_of: StudyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.room.free_bytes", lambda _: 66 * 2**20)
    with pytest.raises(NoRoom):
        starting_weights(study_of(FULL), 0, None, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_study_keeps_the_model_that_it_starts_from(
    study_of: StudyOf, memory_path: Path, model: Path, random_weights: Arrays
) -> None:
    study = adapting(study_of(FULL), digest_arrays(random_weights))
    store = StudyStore.create(memory_path, study)
    with pytest.raises(WrongStart, match=r"study toy starts from model .*: give the folder"):
        take_start(store, None)
    take_start(store, model)
    take_start(store, None)  # the next time it is there already
    kept = store.start_weights()
    assert kept is not None
    assert digest_arrays(kept) == digest_arrays(random_weights)


def test_another_model_than_the_study_names_is_not_taken(
    study_of: StudyOf, memory_path: Path, model: Path
) -> None:
    store = StudyStore.create(memory_path, adapting(study_of(FULL), "0" * 64))
    with pytest.raises(WrongStart, match="is not the tiny model 000000000000"):
        take_start(store, model)
    assert store.start_weights() is None


def test_a_damaged_model_is_not_taken(
    study_of: StudyOf, memory_path: Path, model: Path, random_weights: Arrays
) -> None:
    study = adapting(study_of(FULL), digest_arrays(random_weights))
    store = StudyStore.create(memory_path, study)
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WrongModelFile, match="is not the file that its manifest describes"):
        take_start(store, model)
    assert store.start_weights() is None


def test_a_study_of_fresh_weights_takes_no_model(
    study_of: StudyOf, memory_path: Path, model: Path
) -> None:
    store = StudyStore.create(memory_path, study_of(FULL))
    with pytest.raises(WrongStart, match=r"fresh weights \(model.start is not set\)"):
        take_start(store, model)


def test_the_coordinator_does_not_wait_for_libraries_that_only_drawing_needs() -> None:
    heavy = ("torch", "opacus", "matplotlib", "peft", "scipy")
    program = f"import sys, server.app; print(*sys.modules.keys() & {set(heavy)})"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert ended.stdout.strip() == b""

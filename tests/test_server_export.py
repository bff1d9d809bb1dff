"""The models that a study leaves behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from federation.config import StudyConfig, study_digest
from federation.stages import FullStage, LocalTraining, LoraStage
from model.adapter import adapter_parameters, initial_adapter
from model.arrays import Arrays, digest_arrays
from model.checkpoint import load_model, network_arrays
from model.folder import open_weights
from model.tensor_file import copy_tensors
from server.export import adapter_path, export_models, model_path
from server.records import Part, Reached
from server.room import NoRoom
from server.round_files import state_path
from server.start import INITIAL_DIGEST
from server.state import GlobalState
from server.store import DamagedRound, StudyStore

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=1, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=1, local=LOCAL, rank=2, alpha=3.0)


BEGAN = "ab" * 32


def other(weights: Arrays) -> dict[str, NDArray[np.float32]]:
    return {name: tensor + np.float32(0.5) for name, tensor in weights.items()}


def commit(store: StudyStore, number: int, files: dict[str, Arrays], base: str = "") -> None:
    """A round with these files: site a in the first, a and b in the second, c in none."""
    parts = [Part(number=number, site=site, attempt=1, state="admitted") for site in "ab"[:number]]
    for part in (*parts, Part(number=number, site="c", attempt=1, state="refused")):
        store.record(part)
    folder = store.open_round(number)
    digests = {name: copy_tensors(state_path(folder, name), files[name]) for name in files}
    reached = Reached(number=number, digests=digests, base_digest=base)
    store.commit(reached, parts, seconds=1.0)


def finished(
    folder: Path, study: StudyConfig, weights: Arrays, average: Arrays | None = None
) -> tuple[StudyStore, GlobalState]:
    """A study whose rounds are committed: one of a model and, if the study has two, one of an adapter to it."""
    store = StudyStore.create(folder, study)
    store.set_fact(INITIAL_DIGEST, BEGAN)
    commit(store, 1, {"weights": weights} | ({"average": average} if average else {}))
    if study.num_rounds == 2:
        adapter = other(initial_adapter(study.model_config, LORA.adapter, torch.Generator()))
        commit(store, 2, {"weights": adapter}, base=digest_arrays(weights))
    return store, store.load_round(study.num_rounds)


def test_the_exported_model_is_the_last_rounds_with_its_lineage(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    study = study_of(FULL)
    store, state = finished(memory_path, study, random_weights)
    export_models(store, state)
    network, manifest = load_model(model_path(store))
    assert digest_arrays(network_arrays(network)) == digest_arrays(random_weights)
    assert manifest.study_digest == study_digest(study)
    assert (manifest.study_name, manifest.rounds, manifest.sites) == ("toy", 1, ("a",))
    assert manifest.parent_digest == BEGAN
    assert not adapter_path(store).exists()


def test_a_model_knows_the_numbers_of_the_hospitals_that_made_it(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    for site in ("c", "b", "a"):  # c was numbered and never admitted
        store.number_site(site)
    export_models(store, state)
    assert load_model(model_path(store))[1].site_numbers == {"a": 3}
    assert open_weights(adapter_path(store))[1].site_numbers == {"b": 2, "a": 3}


def test_the_moving_average_is_exported_where_there_is_one(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    average = other(random_weights)
    study = study_of(replace(FULL, ema_decay=0.5))
    store, state = finished(memory_path, study, random_weights, average=average)
    export_models(store, state)
    _, manifest = load_model(model_path(store))
    assert manifest.weights_digest == digest_arrays(average)


def test_the_exported_adapter_names_the_model_it_belongs_to(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    export_models(store, state)
    adapter, manifest = open_weights(adapter_path(store))
    _, base = load_model(model_path(store))
    assert digest_arrays(adapter) == digest_arrays(state.weights)
    assert manifest.parent_digest == base.weights_digest == digest_arrays(random_weights)
    assert (manifest.kind, manifest.rounds, manifest.sites) == ("adapter", 2, ("a", "b"))
    assert manifest.adapter == LORA.adapter


@pytest.mark.slow
def test_peft_reads_the_exported_adapter(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    from peft import PeftModel

    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    export_models(store, state)
    network, _ = load_model(model_path(store))
    adapted = PeftModel.from_pretrained(network, str(adapter_path(store)))
    found = {name: value.detach().numpy() for name, value in adapter_parameters(adapted).items()}
    assert digest_arrays(found) == digest_arrays(state.weights)


def test_a_study_of_adapters_leaves_the_model_that_it_was_given(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    given = digest_arrays(random_weights)
    study = study_of(FULL)
    study = replace(study, model=replace(study.model, start=given), stages=(LORA,))
    store = StudyStore.create(memory_path, study)
    store.keep_start(random_weights)
    adapter = other(initial_adapter(study.model_config, LORA.adapter, torch.Generator()))
    commit(store, 1, {"weights": adapter}, base=given)
    export_models(store, store.load_round(1))
    _, manifest = open_weights(model_path(store))
    assert manifest.weights_digest == manifest.parent_digest == given
    assert (manifest.rounds, manifest.sites) == (0, ())
    assert open_weights(adapter_path(store))[1].parent_digest == given


def test_an_export_that_was_interrupted_is_begun_again(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    export_models(store, state)
    for folder in (model_path(store), adapter_path(store)):
        (folder / "manifest.json").unlink()
        (folder / "model.safetensors").write_bytes(b"half")
        (folder / ".model.safetensors.1.partial").write_bytes(b"half")
    export_models(store, state)
    assert load_model(model_path(store))[1].rounds == 1
    assert digest_arrays(open_weights(adapter_path(store))[0]) == state.digest
    assert not list(store.folder.rglob("*.partial"))


def test_a_finished_export_is_not_written_again(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    export_models(store, state)
    files = [path for path in store.folder.glob("*/*") if path.is_file()]
    written = [path.stat().st_ino for path in files]
    export_models(store, state)
    assert [path.stat().st_ino for path in files] == written


def test_no_model_is_exported_to_where_it_does_not_fit(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, state = finished(memory_path, study_of(FULL), random_weights)
    monkeypatch.setattr("server.room.free_bytes", lambda _: 66 * 2**20)
    with pytest.raises(NoRoom):
        export_models(store, state)
    assert not model_path(store).exists()


def test_damaged_weights_are_not_exported(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    path = store.folder / "rounds" / "00001" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DamagedRound, match="round 1"):
        export_models(store, state)
    assert not model_path(store).exists()

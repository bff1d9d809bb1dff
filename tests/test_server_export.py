"""The models that a study leaves behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from federation.config import FullStage, LocalTraining, LoraStage, StudyConfig, study_digest
from model.adapter import adapter_parameters, initial_adapter
from model.arrays import Arrays, digest_arrays
from model.checkpoint import load_model, load_weights, network_arrays
from server.export import adapter_path, export_models, model_path
from server.start import starting_weights
from server.state import GlobalState
from server.store import DamagedRound, Part, StudyStore

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=1, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=1, local=LOCAL, rank=2, alpha=3.0)


def other(weights: Arrays) -> Arrays:
    return {name: tensor + np.float32(0.5) for name, tensor in weights.items()}


def finished(
    folder: Path, study: StudyConfig, weights: Arrays, *, average: Arrays | None = None
) -> tuple[StudyStore, GlobalState]:
    """A study whose rounds are committed: site a in the first, a and b in the second."""
    store = StudyStore.create(folder, study)
    state = GlobalState(round_number=1, weights=weights, average=average or {})
    for number in range(1, study.num_rounds + 1):
        if number == 2:
            adapter = initial_adapter(study.model_config, LORA.adapter, torch.Generator())
            state = GlobalState(round_number=2, weights=other(adapter), base=weights)
        parts = [
            Part(number=number, site=site, attempt=1, state="admitted") for site in "ab"[:number]
        ]
        for part in parts:
            store.record(part)
        store.record(Part(number=number, site="c", attempt=1, state="refused"))
        store.commit(state, stage=number - 1, parts=parts, seconds=1.0)
    return store, state


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
    assert manifest.parent_digest == digest_arrays(starting_weights(study, 0, {}))
    assert not adapter_path(store).exists()


def test_a_model_knows_the_numbers_of_the_hospitals_that_made_it(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    for site in ("c", "b", "a"):  # c was numbered and never admitted
        store.number_site(site)
    export_models(store, state)
    assert load_model(model_path(store))[1].site_numbers == {"a": 3}
    assert load_weights(adapter_path(store))[1].site_numbers == {"b": 2, "a": 3}


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
    adapter, manifest = load_weights(adapter_path(store))
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


def test_an_export_that_was_interrupted_is_finished_the_next_time(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    export_models(store, state)
    (model_path(store) / "manifest.json").unlink()
    (adapter_path(store) / "adapter_model.safetensors").unlink()
    export_models(store, state)
    assert load_model(model_path(store))[1].rounds == 1
    assert (adapter_path(store) / "adapter_model.safetensors").exists()


def test_damaged_weights_are_not_exported(
    study_of: StudyOf, memory_path: Path, random_weights: Arrays
) -> None:
    store, state = finished(memory_path, study_of(FULL, LORA), random_weights)
    path = store.folder / "rounds" / "00001" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DamagedRound, match="round 1"):
        export_models(store, state)
    assert not model_path(store).exists()

"""A model folder is whole and verified, or refused with a sentence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.arrays import WrongModelFile, WrongTensor, digest_arrays, save_arrays
from model.checkpoint import (
    load_arrays_into,
    load_model,
    load_weights,
    network_arrays,
    network_shapes,
    save_model,
)
from model.conditioning import Schema
from model.config import AdapterConfig, model_config
from model.manifest import Manifest, read_manifest
from model.transformer import initial_network

CONFIG = model_config("tiny", 32)
FINDINGS = ("edema", "fracture")


def weights(seed: int = 1) -> dict[str, NDArray[np.float32]]:
    return network_arrays(initial_network(CONFIG, Schema(FINDINGS), seed))


def manifest(digest: str) -> Manifest:
    return Manifest(
        model=CONFIG,
        findings=FINDINGS,
        kind="full",
        adapter=None,
        study_name="demo",
        study_digest="ab" * 32,
        rounds=3,
        sites=("north", "south"),
        parent_digest=None,
        weights_digest=digest,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", weights(), manifest(digest_arrays(weights())))
    return tmp_path / "model"


def test_a_model_is_read_as_it_was_saved_to_the_bit(folder: Path) -> None:
    network, found = load_model(folder)
    assert digest_arrays(network_arrays(network)) == digest_arrays(weights())
    assert found == manifest(digest_arrays(weights()))
    assert network.config == CONFIG
    assert network.schema == Schema(FINDINGS)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_an_adapter_is_kept_in_the_same_kind_of_folder(tmp_path: Path) -> None:
    arrays = {"blocks.0.qkv.lora_A.weight": np.ones((2, 96), dtype=np.float32)}
    adapter = AdapterConfig(rank=2, alpha=2.0, targets=("qkv",))
    described = replace(manifest(digest_arrays(arrays)), kind="adapter", adapter=adapter)
    save_model(tmp_path, arrays, described)
    assert load_weights(tmp_path)[1] == described
    with pytest.raises(WrongModelFile, match="merge it into its base model first"):
        load_model(tmp_path)


def test_a_model_folder_is_not_overwritten(folder: Path) -> None:
    with pytest.raises(WrongModelFile, match="holds a model already: give a new folder"):
        save_model(folder, weights(2), manifest(digest_arrays(weights(2))))


def test_a_folder_that_lost_power_before_its_manifest_can_be_written_again(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(WrongModelFile, match=r"manifest.json does not exist"):
        load_model(folder)
    save_model(folder, weights(2), manifest(digest_arrays(weights(2))))
    assert digest_arrays(load_weights(folder)[0]) == digest_arrays(weights(2))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongModelFile, match="does not exist: give the folder of a saved model"):
        load_model(tmp_path / "none")


def test_a_missing_or_truncated_weights_file_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(WrongModelFile, match="is not a complete safetensors file"):
        load_model(folder)
    file.unlink()
    with pytest.raises(WrongModelFile, match=r"model.safetensors does not exist"):
        load_model(folder)


def test_other_weights_than_the_manifest_describes_are_refused(folder: Path) -> None:
    save_arrays(folder / "model.safetensors", weights(2), {})
    with pytest.raises(WrongModelFile, match="is not the file that its manifest describes"):
        load_model(folder)


def test_a_manifest_cannot_vouch_for_weights_that_it_does_not_describe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the digest of the weights"):
        save_model(tmp_path, weights(), manifest("00" * 32))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("", "is not a complete manifest"),
        ("[1]", "is not a complete manifest"),
        ('{"format_version": 1}', "is not a complete manifest"),
        ('{"format_version": 2}', "has format 2, this program reads format 1"),
    ],
)
def test_a_damaged_or_newer_manifest_is_refused(folder: Path, damage: str, complaint: str) -> None:
    (folder / "manifest.json").write_text(damage)
    with pytest.raises(WrongModelFile, match=complaint):
        load_model(folder)


def test_an_unknown_field_in_a_manifest_is_refused(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, "surprise": 1}))
    with pytest.raises(WrongModelFile, match="is not a complete manifest"):
        read_manifest(folder)


def test_weights_that_do_not_fit_the_architecture_are_refused_by_name(tmp_path: Path) -> None:
    arrays = {**weights(), "head.bias": np.zeros(3, dtype=np.float32)}
    save_model(tmp_path, arrays, manifest(digest_arrays(arrays)))
    with pytest.raises(WrongTensor, match=r"head.bias is float32 \(3,\), expected float32 \(64,\)"):
        load_model(tmp_path)


def test_a_network_takes_arrays_only_if_all_of_them_fit() -> None:
    network = initial_network(CONFIG, Schema(FINDINGS), 2)
    incomplete = {name: array for name, array in weights().items() if name != "pool.weight"}
    with pytest.raises(WrongTensor, match=r"tensor pool.weight is missing"):
        load_arrays_into(network, incomplete)
    assert digest_arrays(network_arrays(network)) == digest_arrays(weights(2))
    load_arrays_into(network, weights(1))
    assert digest_arrays(network_arrays(network)) == digest_arrays(weights(1))


def test_the_arrays_of_a_network_are_a_copy() -> None:
    network = initial_network(CONFIG, Schema(FINDINGS), 1)
    before = network_arrays(network)
    load_arrays_into(network, weights(2))
    assert digest_arrays(before) == digest_arrays(weights(1))


def test_shapes_are_known_without_building_the_network() -> None:
    expected = {name: array.shape for name, array in weights().items()}
    assert network_shapes(CONFIG, Schema(FINDINGS)) == expected


def test_a_manifest_names_an_adapter_if_and_only_if_it_describes_one() -> None:
    with pytest.raises(ValueError, match="kind 'adapter' has adapter None"):
        replace(manifest(""), kind="adapter")

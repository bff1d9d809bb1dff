"""A network gives and takes arrays, and is read from a model folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.arrays import WrongModelFile, WrongTensor, digest_arrays
from model.checkpoint import load_arrays_into, load_model, network_arrays, network_shapes
from model.conditioning import Schema
from model.config import AdapterConfig, model_config
from model.folder import save_model
from model.initial import initial_network
from model.manifest import Manifest

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


def test_an_adapter_is_not_taken_for_a_network(tmp_path: Path) -> None:
    arrays = {"blocks.0.qkv.lora_A.weight": np.ones((2, 96), dtype=np.float32)}
    adapter = AdapterConfig(rank=2, alpha=2.0, targets=("qkv",))
    described = replace(manifest(digest_arrays(arrays)), kind="adapter", adapter=adapter)
    save_model(tmp_path, arrays, described)
    with pytest.raises(WrongModelFile, match="merge it into its base model first"):
        load_model(tmp_path)


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

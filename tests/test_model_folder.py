"""A model folder is whole and verified, or refused with a sentence; nobody needs the whole model for it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.arrays import Arrays, WrongModelFile, digest_arrays
from model.config import AdapterConfig
from model.folder import open_weights, save_model
from model.manifest import Manifest, read_manifest
from model.tensor_file import copy_tensors
from model.tensors import InMemory, Piece


class Watched(InMemory):
    """Arrays that remember the largest part that anybody asked for."""

    largest = 0

    def piece(self, piece: Piece) -> NDArray[np.float32]:
        """The values of a piece, flat."""
        self.largest = max(self.largest, piece.num_values)
        return super().piece(piece)


def other(weights: Arrays) -> Arrays:
    return {name: array + np.float32(1) for name, array in weights.items()}


def described(arrays: Arrays, manifest: Manifest) -> Manifest:
    return replace(manifest, weights_digest=digest_arrays(arrays))


@pytest.fixture
def folder(tmp_path: Path, random_weights: Arrays, toy_manifest: Manifest) -> Path:
    save_model(tmp_path / "model", random_weights, toy_manifest)
    return tmp_path / "model"


def test_weights_are_read_as_they_were_saved_to_the_bit(
    folder: Path, random_weights: Arrays, toy_manifest: Manifest
) -> None:
    weights, manifest = open_weights(folder)
    assert digest_arrays(weights) == digest_arrays(random_weights)
    assert manifest == toy_manifest


def test_a_model_is_saved_piece_by_piece(tmp_path: Path, toy_manifest: Manifest) -> None:
    large: Arrays = {
        "a": np.ones(1, dtype=np.float32),  # what the check of argument types looks at
        "w": np.arange(3 * 2**20, dtype=np.float32).reshape(3, 2**20),
    }
    watched = Watched(large)
    save_model(tmp_path, watched, described(large, toy_manifest))
    assert digest_arrays(open_weights(tmp_path)[0]) == digest_arrays(large)
    assert watched.largest <= 2**20


def test_an_adapter_is_kept_in_the_same_kind_of_folder(
    tmp_path: Path, toy_manifest: Manifest
) -> None:
    arrays = {"blocks.0.qkv.lora_A.weight": np.ones((2, 96), dtype=np.float32)}
    adapter = AdapterConfig(rank=2, alpha=2.0, targets=("qkv",))
    manifest = replace(described(arrays, toy_manifest), kind="adapter", adapter=adapter)
    save_model(tmp_path, arrays, manifest)
    assert open_weights(tmp_path)[1] == manifest


def test_a_model_folder_is_not_overwritten(
    folder: Path, random_weights: Arrays, toy_manifest: Manifest
) -> None:
    with pytest.raises(WrongModelFile, match="holds a model already: give a new folder"):
        save_model(folder, other(random_weights), toy_manifest)
    assert digest_arrays(open_weights(folder)[0]) == digest_arrays(random_weights)


def test_a_folder_that_lost_power_before_its_manifest_can_be_written_again(
    folder: Path, random_weights: Arrays, toy_manifest: Manifest
) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(WrongModelFile, match=r"manifest.json does not exist"):
        open_weights(folder)
    new = other(random_weights)
    save_model(folder, new, described(new, toy_manifest))
    assert digest_arrays(open_weights(folder)[0]) == digest_arrays(new)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongModelFile, match="does not exist: give the folder of a saved model"):
        open_weights(tmp_path / "none")


def test_a_missing_or_truncated_weights_file_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(WrongModelFile, match="is not a complete safetensors file"):
        open_weights(folder)
    file.unlink()
    with pytest.raises(WrongModelFile, match=r"model.safetensors does not exist"):
        open_weights(folder)


def test_other_weights_than_the_manifest_describes_are_refused(
    folder: Path, random_weights: Arrays
) -> None:
    copy_tensors(folder / "model.safetensors", other(random_weights))
    with pytest.raises(WrongModelFile, match="is not the file that its manifest describes"):
        open_weights(folder)


def test_a_manifest_cannot_vouch_for_weights_that_it_does_not_describe(
    tmp_path: Path, random_weights: Arrays, toy_manifest: Manifest
) -> None:
    with pytest.raises(ValueError, match="not the digest of the weights"):
        save_model(tmp_path, other(random_weights), toy_manifest)
    assert not (tmp_path / "manifest.json").exists()


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
        open_weights(folder)


def test_an_unknown_field_in_a_manifest_is_refused(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, "surprise": 1}))
    with pytest.raises(WrongModelFile, match="is not a complete manifest"):
        read_manifest(folder)


def test_a_manifest_names_an_adapter_if_and_only_if_it_describes_one(
    toy_manifest: Manifest,
) -> None:
    with pytest.raises(ValueError, match="kind 'adapter' has adapter None"):
        replace(toy_manifest, kind="adapter")

"""Filling a network one tensor at a time, and keeping frozen matrices in half precision."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.arrays import Arrays, WrongModelFile, WrongTensor, digest_arrays
from model.checkpoint import network_arrays
from model.conditioning import Schema
from model.config import model_config
from model.streaming import frozen_network, stored_tensors
from model.tensor_file import copy_tensors
from model.transformer import RectifiedFlowTransformer

CONFIG = model_config("tiny", 16)


def fill(weights: Arrays, matrices: torch.dtype = torch.float32) -> RectifiedFlowTransformer:
    return frozen_network(CONFIG, Schema(), weights.items(), matrices=matrices)


def test_a_file_gives_back_its_tensors_one_by_one(tmp_path: Path, random_weights: Arrays) -> None:
    copy_tensors(tmp_path / "w.safetensors", random_weights)
    tensors = stored_tensors(tmp_path / "w.safetensors")
    assert digest_arrays(dict(tensors)) == digest_arrays(random_weights)


def test_shapes_are_told_without_loading_what_only_a_compiler_needs() -> None:
    told = """
import sys
from model.checkpoint import network_shapes
from model.conditioning import Schema
from model.config import model_config
assert network_shapes(model_config("tiny", 16), Schema())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, random_weights: Arrays) -> None:
    path = tmp_path / "w.safetensors"
    copy_tensors(path, random_weights)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WrongModelFile, match="is not a complete safetensors file"):
        list(stored_tensors(path))
    with pytest.raises(WrongModelFile, match="does not exist"):
        list(stored_tensors(tmp_path / "other"))


def test_a_network_holds_what_it_was_filled_with(random_weights: Arrays) -> None:
    network = fill(random_weights)
    assert digest_arrays(network_arrays(network)) == digest_arrays(random_weights)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_only_the_matrices_are_kept_in_half_precision(random_weights: Arrays) -> None:
    network = fill(random_weights, torch.bfloat16)
    for module in network.modules():
        wanted = torch.bfloat16 if isinstance(module, nn.Linear) else torch.float32
        assert {value.dtype for value in module.parameters(recurse=False)} <= {wanted}


def test_matrices_in_half_precision_give_the_bits_that_autocast_gives(
    random_weights: Arrays,
) -> None:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, 3, 1, 16, 16, generator=generator)
    t, condition = torch.rand(2, 3, generator=generator), torch.ones(2, 3, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        usual = fill(random_weights)(noisy, t, condition)
        lean = fill(random_weights, torch.bfloat16)(noisy, t, condition)
    assert torch.equal(lean, usual)


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_weights_of_another_network_are_refused_by_name(random_weights: Arrays, fault: str) -> None:
    weights = dict(random_weights)
    head = weights.pop("head.weight")
    weights |= {
        "missing": {},
        "unknown": {"head.weight": head, "tail.weight": head},
        "shape": {"head.weight": np.zeros((1, 1), np.float32)},
    }[fault]
    name = "tail.weight" if fault == "unknown" else "head.weight"
    with pytest.raises(WrongTensor, match=f"tensor {name} is "):
        fill(weights)

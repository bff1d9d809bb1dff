"""A network filled one tensor at a time, so that a large one never lies in memory twice.

Under bfloat16 autocast a linear layer rounds its weight to bfloat16 at every call. A frozen weight may
as well be kept so: the same bits come out, from half the memory and without the rounding.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from model.arrays import WrongModelFile, check_same_tensors
from model.conditioning import Schema
from model.config import ModelConfig
from model.transformer import RectifiedFlowTransformer

Named = tuple[str, NDArray[np.float32]]


def stored_tensors(path: Path) -> Iterator[Named]:
    """What ``save_arrays`` wrote, one tensor at a time; the file is closed in between and holds no memory.

    Raises:
        WrongModelFile: the file is missing, cut short or not safetensors.
    """
    if not path.is_file():
        raise WrongModelFile(path, "does not exist")
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
        for name in names:
            with safe_open(path, framework="numpy") as file:
                array = file.get_tensor(name)
            yield name, array
    except SafetensorError as err:
        raise WrongModelFile(path, "is not a complete safetensors file") from err


def frozen_network(
    config: ModelConfig, schema: Schema, tensors: Iterable[Named], *, matrices: torch.dtype
) -> RectifiedFlowTransformer:
    """A network that does not train, on the processor.

    Args:
        config: its architecture.
        schema: the study's attributes.
        tensors: every parameter once, in any order, float32.
        matrices: what the weights and biases of linear layers are kept as.

    Raises:
        WrongTensor: a tensor is missing, unknown, or of another shape.
    """
    network = empty_network(config, schema, matrices)
    expected = {name: tuple(value.shape) for name, value in network.named_parameters()}
    for name, array in tensors:
        check_same_tensors({name: array}, {name: expected.pop(name)} if name in expected else {})
        _put(network, name, torch.from_numpy(array))
    check_same_tensors({}, expected)
    return network


def empty_network(
    config: ModelConfig, schema: Schema, matrices: torch.dtype
) -> RectifiedFlowTransformer:
    """Shapes without numbers, on torch's meta device; weights and biases of linear layers as ``matrices``."""
    with torch.device("meta"):
        network = RectifiedFlowTransformer(config, schema)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.to(matrices)
    return network


def _put(network: nn.Module, name: str, value: torch.Tensor) -> None:
    """Give a layer one of its parameters, in the precision of the one it replaces."""
    place, _, kind = name.rpartition(".")
    layer = network.get_submodule(place)
    dtype = layer.get_parameter(kind).dtype
    setattr(layer, kind, nn.Parameter(value.to(dtype), requires_grad=False))

"""A network's weights as arrays: taken out, put in, and read from a model's folder."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.arrays import Arrays, WrongModelFile, check_same_tensors
from model.conditioning import Schema
from model.config import ModelConfig
from model.folder import open_weights
from model.manifest import Manifest
from model.streaming import empty_network
from model.transformer import RectifiedFlowTransformer


def network_arrays(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """A copy of every parameter, by name."""
    return {name: _array(parameter) for name, parameter in network.named_parameters()}


def load_arrays_into(network: nn.Module, arrays: Arrays) -> None:
    """Overwrite every parameter of the network.

    Raises:
        WrongTensor: the arrays do not fit; the network is as before.
    """
    parameters = dict(network.named_parameters())
    check_same_tensors(arrays, _shapes(network))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def network_shapes(config: ModelConfig, schema: Schema) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, without building the network."""
    return _shapes(empty_network(config, schema, torch.float32))


def load_model(folder: Path) -> tuple[RectifiedFlowTransformer, Manifest]:
    """Read a whole network, verified.

    Raises:
        WrongModelFile: something is missing, damaged, not what the manifest describes, or an
            adapter.
        WrongTensor: the weights do not fit the architecture in the manifest.
    """
    weights, manifest = open_weights(folder)
    if manifest.kind == "adapter":
        raise WrongModelFile(
            folder, "holds an adapter, not a whole network", "merge it into its base model first"
        )
    network = empty_network(manifest.model, Schema(manifest.findings), torch.float32)
    arrays = dict(weights)
    check_same_tensors(arrays, _shapes(network))
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    network.load_state_dict(tensors, assign=True)
    return network, manifest


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.named_parameters()}


def _array(parameter: torch.Tensor) -> NDArray[np.float32]:
    """The parameter's numbers, no longer tied to it."""
    return np.array(parameter.detach().cpu().numpy(), dtype=np.float32)

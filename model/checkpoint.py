"""A network's weights as arrays, and a model folder: ``model.safetensors`` with its manifest.

A folder is written once. The weights come first and the manifest last, each renamed into place, so
a folder with a manifest is a whole model, and one without is nothing.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.arrays import (
    Arrays,
    WrongModelFile,
    check_same_tensors,
    digest_arrays,
    load_arrays,
    save_arrays,
)
from model.conditioning import Schema
from model.config import ModelConfig
from model.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from model.transformer import RectifiedFlowTransformer

WEIGHTS_NAME = "model.safetensors"


def network_arrays(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """A copy of every parameter, by name."""
    return {name: _array(parameter) for name, parameter in network.named_parameters()}


def load_arrays_into(network: nn.Module, arrays: Arrays) -> None:
    """Overwrite every parameter of the network.

    Raises:
        WrongTensor: the arrays do not fit; the network is as before.
    """
    parameters = dict(network.named_parameters())
    check_same_tensors(arrays, {name: tuple(value.shape) for name, value in parameters.items()})
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def network_shapes(config: ModelConfig, schema: Schema) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, without building the network."""
    with torch.device("meta"):
        network = RectifiedFlowTransformer(config, schema)
    return {name: tuple(value.shape) for name, value in network.named_parameters()}


def save_model(folder: Path, arrays: Arrays, manifest: Manifest) -> None:
    """Write a model folder, weights first.

    Args:
        folder: made if it does not exist; must not hold a model yet.
        arrays: the whole network or an adapter, as ``manifest.kind`` says.
        manifest: its ``weights_digest`` is that of ``arrays``.

    Raises:
        ValueError: the digest is of other weights.
        WrongModelFile: the folder holds a model already.
    """
    if manifest.weights_digest != digest_arrays(arrays):
        raise ValueError("the manifest's weights_digest is not the digest of the weights to save")
    if (folder / MANIFEST_NAME).exists():
        raise WrongModelFile(folder, "holds a model already", "give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    save_arrays(folder / WEIGHTS_NAME, arrays, {"study": manifest.study_name})
    write_manifest(folder, manifest)


def load_weights(folder: Path) -> tuple[dict[str, NDArray[np.float32]], Manifest]:
    """Read a model folder of either kind and verify that the weights are the manifest's.

    Raises:
        WrongModelFile: something is missing, damaged, or not what the manifest describes.
    """
    if not folder.is_dir():
        raise WrongModelFile(folder, "does not exist", "give the folder of a saved model")
    manifest = read_manifest(folder)
    arrays = load_arrays(folder / WEIGHTS_NAME)
    if digest_arrays(arrays) != manifest.weights_digest:
        raise WrongModelFile(folder / WEIGHTS_NAME, "is not the file that its manifest describes")
    return arrays, manifest


def load_model(folder: Path) -> tuple[RectifiedFlowTransformer, Manifest]:
    """Read a whole network, verified.

    Raises:
        WrongModelFile: something is missing, damaged, not what the manifest describes, or an
            adapter.
        WrongTensor: the weights do not fit the architecture in the manifest.
    """
    arrays, manifest = load_weights(folder)
    if manifest.kind == "adapter":
        raise WrongModelFile(
            folder, "holds an adapter, not a whole network", "merge it into its base model first"
        )
    schema = Schema(manifest.findings)
    check_same_tensors(arrays, network_shapes(manifest.model, schema))
    with torch.device("meta"):
        network = RectifiedFlowTransformer(manifest.model, schema)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    network.load_state_dict(tensors, assign=True)
    return network, manifest


def _array(parameter: torch.Tensor) -> NDArray[np.float32]:
    """The parameter's numbers, no longer tied to it."""
    return np.array(parameter.detach().cpu().numpy(), dtype=np.float32)

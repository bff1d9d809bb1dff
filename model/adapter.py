"""Low-rank adapters: attach to a network, take out, put in, merge, and keep in PEFT's own files.

An adapter travels as arrays named ``blocks.0.qkv.lora_A.weight`` and ``...lora_B.weight``; the
layer then computes W x + (alpha / rank) B A x. (Hu et al. 2021, https://arxiv.org/abs/2106.09685.)
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.arrays import (
    Arrays,
    WrongModelFile,
    check_same_tensors,
    load_arrays,
    replacing,
    save_arrays,
)
from model.block import Block
from model.checkpoint import network_arrays
from model.config import AdapterConfig, ModelConfig
from model.transformer import RectifiedFlowTransformer

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
PEFT_PREFIX = "base_model.model."
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"


def adapter_shapes(model: ModelConfig, config: AdapterConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of an adapter, without building the network."""
    with torch.device("meta"):
        block = Block(model)
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(model.depth):
        for target in config.targets:
            rows, columns = block.get_submodule(target).get_parameter("weight").shape
            shapes[f"blocks.{number}.{target}{DOWN}"] = (config.rank, columns)
            shapes[f"blocks.{number}.{target}{UP}"] = (rows, config.rank)
    return shapes


def initial_adapter(
    model: ModelConfig, config: AdapterConfig, generator: torch.Generator
) -> dict[str, NDArray[np.float32]]:
    """A fresh adapter: A uniform within 1 / sqrt(columns), B zero, so that it changes nothing yet."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, shape in adapter_shapes(model, config).items():
        bound = 1 / math.sqrt(shape[1]) if name.endswith(DOWN) else 0.0
        uniform = torch.rand(shape, generator=generator, device=generator.device)
        arrays[name] = ((2 * uniform - 1) * bound).cpu().numpy() if bound else np.zeros(shape, "f4")
    return arrays


def attach(
    network: RectifiedFlowTransformer, config: AdapterConfig, generator: torch.Generator
) -> nn.Module:
    """Give the network a fresh adapter; only the adapter trains from then on.

    The network itself is changed: its layers are wrapped in place.

    Args:
        network: the base, without an adapter.
        config: rank, strength and layers.
        generator: decides A.
    """
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415  seconds that merging can do without

    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # PEFT only divides it
        target_modules=list(config.targets),
    )
    with torch.random.fork_rng(devices=[]):  # PEFT draws from the global generator
        model: nn.Module = get_peft_model(network, lora)
    load(model, initial_adapter(network.config, config, generator))
    return model


def extract(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """A copy of the adapter of an attached network."""
    return {
        name: value.detach().cpu().numpy().copy()
        for name, value in adapter_parameters(model).items()
    }


def load(model: nn.Module, arrays: Arrays) -> None:
    """Overwrite the adapter of an attached network.

    Raises:
        WrongTensor: the arrays do not fit; the adapter is as before.
    """
    tensors = adapter_parameters(model)
    check_same_tensors(arrays, {name: tuple(value.shape) for name, value in tensors.items()})
    with torch.no_grad():
        for name, value in tensors.items():
            value.copy_(torch.from_numpy(np.array(arrays[name])))


def merge(
    network: RectifiedFlowTransformer, adapter: Arrays, config: AdapterConfig
) -> dict[str, NDArray[np.float32]]:
    """Weights of a network that does alone what ``network`` with ``adapter`` does.

    Args:
        network: the base, without an adapter attached; it is not changed.
        adapter: the adapter's arrays.
        config: what the adapter was trained with.

    Raises:
        WrongTensor: the adapter does not fit.
    """
    check_same_tensors(adapter, adapter_shapes(network.config, config))
    merged = network_arrays(network)
    for name in adapter:
        if name.endswith(DOWN):
            layer = name.removesuffix(DOWN)
            product = adapter[layer + UP].astype(np.float64) @ adapter[name].astype(np.float64)
            weight = merged[f"{layer}.weight"] + config.alpha / config.rank * product
            merged[f"{layer}.weight"] = weight.astype(np.float32)
    return merged


def save_adapter(folder: Path, arrays: Arrays, config: AdapterConfig) -> None:
    """Write the two files that ``peft.PeftModel.from_pretrained(network, folder)`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {PEFT_PREFIX + name: array for name, array in arrays.items()}
    save_arrays(folder / PEFT_WEIGHTS, named, {"format": "pt"})
    description = {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.alpha,
        "target_modules": list(config.targets),
        "inference_mode": True,
    }
    with replacing(folder / PEFT_CONFIG) as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read_adapter(folder: Path) -> tuple[dict[str, NDArray[np.float32]], AdapterConfig]:
    """Read what ``save_adapter`` wrote.

    Raises:
        WrongModelFile: a file is missing or damaged.
    """
    path = folder / PEFT_CONFIG
    if not path.is_file():
        raise WrongModelFile(path, "does not exist", "give the folder of a saved adapter")
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        targets = tuple(content["target_modules"])
        config = AdapterConfig(rank=content["r"], alpha=content["lora_alpha"], targets=targets)
    except (ValueError, TypeError, KeyError) as err:
        raise WrongModelFile(path, "is not a complete adapter description") from err
    arrays = load_arrays(folder / PEFT_WEIGHTS)
    return {name.removeprefix(PEFT_PREFIX): array for name, array in arrays.items()}, config


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters under the names that travel."""
    return {
        name.removeprefix(PEFT_PREFIX).replace(".default.", "."): value
        for name, value in model.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    }

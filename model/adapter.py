"""Low-rank adapters: draw, attach to a network, take out, put in, and merge.

An adapter travels as arrays named ``blocks.0.qkv.lora_A.weight`` and ``...lora_B.weight``; the
layer then computes W x + (alpha / rank) B A x. (Hu et al. 2021, https://arxiv.org/abs/2106.09685.)
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.arrays import Arrays, check_same_tensors
from model.block import Block
from model.checkpoint import network_arrays
from model.config import AdapterConfig, ModelConfig
from model.low_rank import DOWN, UP
from model.peft_folder import PEFT_PREFIX
from model.transformer import RectifiedFlowTransformer


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
    return dict(draw_adapter(model, config, generator))


def draw_adapter(
    model: ModelConfig, config: AdapterConfig, generator: torch.Generator
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors of a fresh adapter, as the turn of each comes."""
    for name, shape in adapter_shapes(model, config).items():
        bound = 1 / math.sqrt(shape[1]) if name.endswith(DOWN) else 0.0
        uniform = torch.rand(shape, generator=generator, device=generator.device)
        yield name, ((2 * uniform - 1) * bound).cpu().numpy() if bound else np.zeros(shape, "f4")


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


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters under the names that travel."""
    return {
        name.removeprefix(PEFT_PREFIX).replace(".default.", "."): value
        for name, value in model.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    }

"""The first weights of a network or an adapter, drawn tensor after tensor, into memory or into a file.

A seed decides the tensors in the order of the network's layers, and a file holds them in order of name: each goes to its
place as it is drawn, so that a file of any size costs the memory of its largest tensor.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.adapter import adapter_shapes, draw_adapter
from model.arrays import check_same_tensors, replacing
from model.checkpoint import network_shapes
from model.conditioning import Schema
from model.config import AdapterConfig, ModelConfig
from model.streaming import Named, empty_network
from model.tensor_file import VALUE_BYTES, TensorFile, header_bytes, write_all
from model.tensors import Shapes
from model.transformer import RectifiedFlowTransformer

SILENT = frozenset({"mod", "mod_offset", "head_mod", "head"})
"""Layers whose weights start at zero, after they were drawn."""


def initial_network(config: ModelConfig, schema: Schema, seed: int) -> RectifiedFlowTransformer:
    """A fresh network; the same seed gives the same bits, and nothing global is drawn from.

    Gates, the modulation and the head start at zero: every block passes its input on, and the
    network answers with a black-to-white mean, 0, everywhere.
    """
    network = empty_network(config, schema, torch.float32)
    drawn = {name: torch.from_numpy(array) for name, array in _drawn(config, schema, seed)}
    network.load_state_dict(drawn, assign=True)
    return network


def write_initial_network(path: Path, config: ModelConfig, schema: Schema, seed: int) -> TensorFile:
    """Write the weights that ``initial_network`` has, without ever holding all of them."""
    return _write(path, network_shapes(config, schema), _drawn(config, schema, seed))


def write_initial_adapter(
    path: Path, model: ModelConfig, config: AdapterConfig, seed: int
) -> TensorFile:
    """Write a fresh adapter (``model.adapter.draw_adapter``), without ever holding all of it."""
    drawn = draw_adapter(model, config, torch.Generator().manual_seed(seed))
    return _write(path, adapter_shapes(model, config), drawn)


def _drawn(config: ModelConfig, schema: Schema, seed: int) -> Iterator[Named]:
    """Every parameter of a fresh network, as its turn comes."""
    generator = torch.Generator().manual_seed(seed)
    for path, layer in empty_network(config, schema, torch.float32).named_modules():
        for kind, blank in layer.named_parameters(recurse=False):
            yield f"{path}.{kind}", _draw(path, layer, torch.empty(blank.shape), generator).numpy()


def _draw(path: str, layer: nn.Module, value: Tensor, generator: torch.Generator) -> Tensor:
    """Fill one parameter of the layer at a path."""
    match layer:
        case nn.Linear() if value.ndim == 2:
            nn.init.xavier_uniform_(value, generator=generator)
        case nn.Linear():
            nn.init.zeros_(value)
        case nn.Embedding():
            nn.init.normal_(value, std=0.02, generator=generator)
        case nn.RMSNorm():
            nn.init.ones_(value)
        case _:
            raise TypeError(f"nothing says how a {type(layer).__name__} begins")
    return value.zero_() if path in SILENT else value


def _write(path: Path, shapes: Shapes, tensors: Iterable[Named]) -> TensorFile:
    """Write tensors that come in any order, each to its place; the file appears whole, or not at all.

    Raises:
        WrongTensor: a tensor is missing, unknown, or of another shape.
    """
    missing = dict(shapes)
    with replacing(path) as partial, partial.open("wb", buffering=0) as file:
        header = header_bytes(shapes, {})
        write_all(file, header)
        starts = _starts(shapes, len(header))
        for name, array in tensors:
            check_same_tensors({name: array}, {name: missing.pop(name)} if name in missing else {})
            file.seek(starts[name])
            write_all(file, array.reshape(-1).astype("<f4", copy=False).view(np.uint8).data)
            del array  # before the next one is drawn
        check_same_tensors({}, missing)
    return TensorFile(path)


def _starts(shapes: Shapes, start: int) -> dict[str, int]:
    """Position of every tensor's first byte in a file in order of name, whose first tensor begins at ``start``."""
    names = sorted(shapes)
    sizes = [VALUE_BYTES * prod(shapes[name]) for name in names]
    return dict(zip(names, accumulate(sizes, initial=start), strict=False))

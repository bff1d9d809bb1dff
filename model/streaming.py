"""A network filled one tensor at a time, so that a large one never lies in memory twice.

Under bfloat16 autocast a linear layer rounds its weight to bfloat16 at every call. A frozen weight may
as well be kept so: the same bits come out, from half the memory and without the rounding.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from model.arrays import check_same_tensors
from model.conditioning import Schema
from model.config import ModelConfig
from model.tensor_file import TensorFile
from model.transformer import RectifiedFlowTransformer

Named = tuple[str, NDArray[np.float32]]


def stored_tensors(path: Path) -> Iterator[Named]:
    """What a file holds, one tensor at a time; the file is closed in between and holds no memory.

    Raises:
        WrongModelFile: the file is missing, cut short, not safetensors, or not float32.
    """
    yield from TensorFile(path).items()


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
    with torch.device("meta"), _WithoutDrawing():
        network = RectifiedFlowTransformer(config, schema)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.to(matrices)
    return network


class _WithoutDrawing(TorchFunctionMode):
    """Layers leave their numbers undrawn. To draw none on the meta device, torch would load its compiler: 80 MB."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Call whatever does not draw."""
        if getattr(func, "__module__", "") == nn.init.__name__:
            return (*args, *(kwargs or {}).values())[0]
        return func(*args, **(kwargs or {}))


def _put(network: nn.Module, name: str, value: torch.Tensor) -> None:
    """Give a layer one of its parameters, in the precision of the one it replaces."""
    place, _, kind = name.rpartition(".")
    layer = network.get_submodule(place)
    dtype = layer.get_parameter(kind).dtype
    setattr(layer, kind, nn.Parameter(value.to(dtype), requires_grad=False))

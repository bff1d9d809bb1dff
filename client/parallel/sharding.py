"""A network cut over the processes: each holds an equal part of every tensor (FSDP2).

A block is put together when it is its turn and taken apart again after it; its gradients are averaged over
the processes on the way back. (Zhao et al. 2023, https://arxiv.org/abs/2304.11277.)
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from client.device import has_bf16
from model.arrays import Arrays, check_same_tensors
from model.block import Block
from model.peft_folder import PEFT_PREFIX
from model.streaming import Named


def cut(network: nn.Module, mesh: DeviceMesh, precision: str) -> None:
    """Cut a network without numbers; it holds its part, of no particular numbers, on the mesh's device.

    In bf16 the parts of blocks travel as bf16, as autocast would round them; gradients are averaged in fp32.
    """
    device = torch.device(mesh.device_type)
    exact = policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    if precision == "bf16" and has_bf16(device):
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    for module in list(network.modules()):
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(network, mesh=mesh, mp_policy=exact)
    network.to_empty(device=device)


def parts_by_name(network: nn.Module) -> dict[str, nn.Parameter]:
    """This process's parts under the names that travel and that the base model has on disk."""
    return {
        name.removeprefix(PEFT_PREFIX).replace(".base_layer.", ".").replace(".default.", "."): part
        for name, part in network.named_parameters()
    }


@torch.no_grad()
def fill(parts: Mapping[str, nn.Parameter], tensors: Iterable[Named]) -> None:
    """Give every part its numbers out of the whole tensors.

    Raises:
        WrongTensor: a tensor is missing, unknown, or of another shape.
    """
    expected = {name: tuple(part.shape) for name, part in parts.items()}
    for name, array in tensors:
        check_same_tensors({name: array}, {name: expected.pop(name)} if name in expected else {})
        parts[name].copy_(part_like(array, parts[name]))
    check_same_tensors({}, expected)


def part_like(array: NDArray[np.float32], part: Tensor) -> Tensor:
    """This process's part of a whole tensor that all processes have, cut as ``part`` is."""
    whole = torch.from_numpy(np.array(array)).to(part.device)
    if not isinstance(part, DTensor):
        return whole
    return distribute_tensor(whole, part.device_mesh, part.placements, src_data_rank=None)


def whole(part: Tensor) -> NDArray[np.float32]:
    """A tensor put together from all parts; every process has to ask for it."""
    tensor = part.full_tensor() if isinstance(part, DTensor) else part
    array: NDArray[np.float32] = tensor.detach().cpu().numpy().copy()
    return array


def restore(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], state: Arrays
) -> None:
    """Give a fresh optimizer its parts of the state that it had after an earlier round."""
    for name, part in parameters.items():
        if f"exp_avg|{name}" in state:
            step = torch.from_numpy(np.array(state[f"step|{name}"])).to(part.device)
            moments = {
                key: part_like(state[f"{key}|{name}"], part) for key in ("exp_avg", "exp_avg_sq")
            }
            optimizer.state[part] = {"step": step, **moments}


def collect(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, NDArray[np.float32]]:
    """The optimizer's state as whole tensors; every process has to ask for it."""
    return {
        f"{key}|{name}": whole(value)
        for name, part in parameters.items()
        for key, value in optimizer.state.get(part, {}).items()
        if isinstance(value, Tensor)
    }

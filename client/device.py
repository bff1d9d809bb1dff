"""Where a hospital trains, and in which arithmetic."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from client.control.limits import GPU_MEMORY_VARIABLE, Limits
from client.refused import NotTaken
from federation.messages import RefusalCode


class GpuAbsent(NotTaken):
    """The profile names GPUs that are not there."""

    def __init__(self, *, named: tuple[int, ...], found: int) -> None:
        super().__init__(
            RefusalCode.STUDY,
            f"limits.gpus in the hospital's profile names {len(named)} GPU(s) ({', '.join(map(str, named))}), and the "
            f"program sees {found}: its data manager corrects limits.gpus, or whoever keeps that machine types nvidia-smi",
        )


def best_device() -> torch.device:
    """The hospital's GPU if it has one that works, otherwise its processor."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    share_gpus()
    return torch.device("cuda")


def require_gpus(limits: Limits) -> None:
    """See that every GPU is there that the hospital wants its training on, rather than train slowly elsewhere.

    Raises:
        GpuAbsent: one is not.
    """
    named = limits.gpus or ()
    found = torch.cuda.device_count() if named else 0
    if found < len(named):
        raise GpuAbsent(named=named, found=found)


def share_gpus() -> None:
    """Keep to the part of the GPUs' memory that the hospital gives."""
    part = os.environ.get(GPU_MEMORY_VARIABLE)
    for number in range(torch.cuda.device_count()) if part else ():
        torch.cuda.set_per_process_memory_fraction(float(part or 1.0), number)


def device_of(network: nn.Module) -> torch.device:
    """Where the network's parameters lie; the processor for one that has none."""
    devices = (parameter.device for parameter in network.parameters())
    return next(devices, torch.device("cpu"))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Network arithmetic in bf16 where the device has it; fp32 otherwise."""
    if precision == "bf16" and has_bf16(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def frozen_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What frozen matrices are kept as: what they would be rounded to at every use."""
    return torch.bfloat16 if precision == "bf16" and has_bf16(device) else torch.float32


def kept_precision(network: nn.Module) -> str:
    """``bf16`` for a network whose frozen matrices are kept so: it cannot be used in any other."""
    kept = {parameter.dtype for parameter in network.parameters()}
    return "bf16" if torch.bfloat16 in kept else "fp32"


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 numbers natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  torch has no public name

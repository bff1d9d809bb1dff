"""What differential privacy cannot honour: refused with the reason, before any patient is looked at."""

from collections import Counter

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

KNOWN_LAYERS = (nn.Linear, nn.Embedding, nn.RMSNorm, nn.LayerNorm)
"""Layers whose patients' gradients are known, and compared with a loop by the self-test."""

KNOWN_OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


class NotPrivate(ValueError):
    """Training that could not keep the promise of differential privacy."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"differentially private training is refused: {reason}")


def check_network(network: nn.Module) -> None:
    """Refuse a network in which what one patient adds to a gradient is unknown or unbounded.

    Raises:
        NotPrivate: saying which construct, and why it cannot be.
    """
    for name, module in network.named_modules():
        _check_module(name, module)
    _check_sharing(network)


def check_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    """Refuse an optimizer that sees more than noised gradients, or makes nothing but noise of them.

    Raises:
        NotPrivate: saying why.
    """
    if type(optimizer).__name__ == "Muon":
        raise NotPrivate(
            "Muon gives every direction of a gradient the same length, and under noise nearly all directions are "
            "noise; choose adamw or sgd"
        )
    if type(optimizer) not in KNOWN_OPTIMIZERS:
        raise NotPrivate(
            f"the optimizer {type(optimizer).__name__} may look at the loss again, without noise; choose adamw or sgd"
        )
    moved = {id(part) for group in optimizer.param_groups for part in group["params"]}
    if moved != {id(part) for part in network.parameters() if part.requires_grad}:
        raise NotPrivate("the optimizer moves other tensors than those that get clipped gradients")


def check_precision(precision: str) -> None:
    """Refuse arithmetic in which the self-test cannot tell a wrong gradient from a rounded one.

    Raises:
        NotPrivate: unless it is float32.
    """
    if precision != "fp32":
        raise NotPrivate(
            f"precision is {precision}: gradients, norms and noise are float32, or the bound on a patient's part is "
            "only as good as the rounding; set precision: fp32"
        )


def _check_module(name: str, module: nn.Module) -> None:
    where = name or "the network"
    if isinstance(module, _BatchNorm):
        raise NotPrivate(
            f"{where} normalises over a batch (BatchNorm), which mixes patients; use RMSNorm"
        )
    if isinstance(module, _InstanceNorm) and module.track_running_stats:
        raise NotPrivate(f"{where} keeps running statistics of patients, which get no noise")
    if getattr(module, "_compiled_call_impl", None) is not None:
        raise NotPrivate(
            f"{where} is compiled, which leaves hooks out; set training.compile: false in the profile"
        )
    if any("Dora" in type(part).__name__ for part in [module]) or _has(
        module, "lora_magnitude_vector"
    ):
        raise NotPrivate(
            f"{where} is adapted by DoRA, whose norm of the sum W + BA has no gradient per patient; use LoRA"
        )
    if _has(module, "lora_embedding_A"):
        raise NotPrivate(
            f"{where} is an embedding with LoRA, whose gradient per patient nothing computes; adapt linear layers"
        )
    own = [part for part in module.parameters(recurse=False) if part.requires_grad]
    if own:
        _check_trained(where, module, own)


def _check_trained(where: str, module: nn.Module, own: list[nn.Parameter]) -> None:
    if type(module) not in KNOWN_LAYERS:
        raise NotPrivate(
            f"{where} trains a parameter of a {type(module).__name__}: only those of Linear, Embedding, RMSNorm and "
            "LayerNorm have a known gradient per patient"
        )
    if any(part.dtype is not torch.float32 for part in own):
        raise NotPrivate(
            f"{where} trains in {own[0].dtype}: noise in fewer than 32 bits can be told from its steps"
        )
    if any(True for _ in module.buffers(recurse=False)):
        raise NotPrivate(
            f"{where} keeps a buffer beside a trained parameter, which may hold what no noise hides"
        )
    if isinstance(module, nn.Embedding) and (
        module.max_norm is not None or module.scale_grad_by_freq or module.sparse
    ):
        raise NotPrivate(
            f"{where} is an embedding that renormalises, weighs by frequency or is sparse, over all patients"
        )


def _check_sharing(network: nn.Module) -> None:
    uses = Counter(
        id(part)
        for _, part in network.named_parameters(remove_duplicate=False)
        if part.requires_grad
    )
    if any(count > 1 for count in uses.values()):
        raise NotPrivate(
            "a trained parameter is part of two layers: shared modules hide what a patient adds"
        )
    if not uses:
        raise NotPrivate("nothing trains, and noise on nothing protects nobody")


def _has(module: nn.Module, attribute: str) -> bool:
    """Whether PEFT put something into this place."""
    held = module._modules.get(attribute) or module._parameters.get(attribute)  # noqa: SLF001
    return isinstance(held, nn.ModuleDict | nn.ParameterDict) and len(held) > 0

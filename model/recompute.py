"""Activation checkpointing: keep what goes into a block, and compute its inside again when gradients need it.

Memory then holds the inside of one block instead of all, for one more forward pass (Chen et al.
2016, https://arxiv.org/abs/1604.06174). No bit of a gradient depends on it but by rounding.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

FirstPass = Callable[[], AbstractContextManager[object]]
"""Makes what surrounds a pass that will be computed again, for hooks that should heed only one of the two."""


def recomputed(block: nn.Module, *arguments: object, first_pass: FirstPass = nullcontext) -> Tensor:
    """What ``block`` makes of the arguments; inside it, only they are remembered.

    The second pass runs to the end of the block, so that a hook on its last layer sees both passes.
    """
    if not torch.is_grad_enabled():
        result: Tensor = block(*arguments)
        return result
    again: Tensor = checkpoint(
        block,
        *arguments,
        use_reentrant=False,
        preserve_rng_state=False,
        early_stop=False,
        context_fn=lambda: (first_pass(), nullcontext()),
    )
    return again

"""FedProx: local training is pulled back to the weights it began with."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def add_proximal(
    parameters: Mapping[str, nn.Parameter], received: Mapping[str, Tensor], weight: float
) -> None:
    """Add to the gradients that of weight / 2 times the squared distance to the received weights.

    The gradient is weight * (w - received). (Li et al. 2020, https://arxiv.org/abs/1812.06127; the norm is squared, so
    that the pull grows with the distance.) Every process adds it to its own parts, after gradients were averaged.

    Args:
        parameters: What trains.
        received: The values before the first step, lying and cut like the parameters.
        weight: 0 changes nothing.
    """
    if weight == 0:
        return
    for name, parameter in parameters.items():
        pull = (parameter - received[name]).mul_(weight)
        parameter.grad = pull if parameter.grad is None else parameter.grad.add_(pull)

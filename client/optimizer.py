"""The optimizer of local training, and its state between rounds."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from federation.stages import LocalTraining
from model.arrays import Arrays

KEPT = ("step", "exp_avg", "exp_avg_sq")
"""AdamW's state of one tensor."""


def make_optimizer(
    parameters: dict[str, nn.Parameter], local: LocalTraining, state: Arrays
) -> torch.optim.Optimizer:
    """The optimizer over the trained tensors, with the state it had after an earlier round."""
    if local.optimizer == "sgd":
        return torch.optim.SGD(
            parameters.values(), lr=local.learning_rate, weight_decay=local.weight_decay
        )
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=local.learning_rate,
        betas=(local.beta1, local.beta2),
        weight_decay=local.weight_decay,
        fused=True,
    )
    for name, parameter in parameters.items():
        if f"exp_avg|{name}" in state:
            optimizer.state[parameter] = {
                key: torch.from_numpy(np.array(state[f"{key}|{name}"])).to(parameter.device)
                for key in KEPT
            }
    return optimizer


def save_optimizer(
    parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, NDArray[np.float32]]:
    """The optimizer's state as named tensors; empty for one without state."""
    return {
        f"{key}|{name}": value.detach().cpu().numpy()
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }

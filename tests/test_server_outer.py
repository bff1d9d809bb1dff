"""The outer step against the optimizer it is named after."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from federation.config import OuterStep
from model.arrays import Arrays, digest_arrays
from server.aggregation import add
from server.outer import outer_step

ROUNDS = 6


def changes() -> list[dict[str, NDArray[np.float64]]]:
    rng = np.random.default_rng(3)
    return [{"w": rng.normal(size=(4, 3)), "v": rng.normal(size=5)} for _ in range(ROUNDS)]


def start() -> Arrays:
    return {"w": np.ones((4, 3), np.float32), "v": np.zeros(5, np.float32)}


def test_rate_one_without_momentum_is_the_mean_change_itself() -> None:
    (change, *_) = changes()
    weights, momentum = outer_step(start(), {}, change, OuterStep())
    assert digest_arrays(weights) == digest_arrays(add(start(), change))
    assert momentum == {}


@pytest.mark.parametrize(("rate", "momentum"), [(0.7, 0.9), (1.0, 0.5), (0.3, 0.0)])
def test_several_rounds_are_several_steps_of_torchs_nesterov(rate: float, momentum: float) -> None:
    step = OuterStep(learning_rate=rate, momentum=momentum)
    weights, velocity = start(), dict[str, NDArray[np.float32]]()
    parameters = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start().items()}
    theirs = torch.optim.SGD(parameters.values(), lr=rate, momentum=momentum, nesterov=momentum > 0)
    for change in changes():
        weights, velocity = outer_step(weights, velocity, change, step)
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(-change[name], dtype=torch.float32)
        theirs.step()
    for name, parameter in parameters.items():
        np.testing.assert_allclose(weights[name], parameter.detach().numpy(), atol=2e-6)


def test_a_tensor_without_a_change_keeps_its_bits() -> None:
    change = {"w": changes()[0]["w"]}
    weights, momentum = outer_step(start(), {}, change, OuterStep(learning_rate=0.7, momentum=0.9))
    assert weights["v"].tobytes() == start()["v"].tobytes()
    assert momentum.keys() == {"w"}

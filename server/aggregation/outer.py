"""The outer step: how a combined change moves the global model.

The change of a round is taken as the negative gradient of an optimizer at the coordinator (Reddi et al. 2021,
https://arxiv.org/abs/2003.00295). Arithmetic is in float64; what an optimizer remembers from round to round is
rounded to float32. All functions of pieces take flat arrays of one length.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.stages import OuterStep
from model.arrays import Arrays

Wide = NDArray[np.float64]
Moments = Mapping[str, NDArray[np.float32]]
"""Name of what is remembered (``momentum``, ``variance``) -> its values at the same places as the change's."""


def moment_names(step: OuterStep) -> tuple[str, ...]:
    """What an outer step remembers: one set of tensors, shaped like those that train, for each name."""
    if step.kind == "sgd":
        return ("momentum",) if step.momentum else ()
    return ("momentum", "variance")


def outer_piece(
    step: OuterStep, change: Wide, moments: Moments, *, round_in_stage: int
) -> tuple[Wide, dict[str, NDArray[np.float32]]]:
    """How far a piece of the model moves, and what is remembered of it.

    Only tensors that trained in this round may be passed: momentum would move the others too.

    Args:
        step: of the study's stage.
        change: the combined change.
        moments: what the stage's last round left of this piece; missing or empty arrays are zeros.
        round_in_stage: rounds of this stage that these tensors trained in, this one included; from 1.
    """
    if round_in_stage < 1:
        raise ValueError(f"round_in_stage is {round_in_stage}, but counts from 1")
    before = {name: _wide(moments.get(name), change) for name in moment_names(step)}
    if not before:
        return step.learning_rate * change, {}
    if step.kind == "sgd":
        movement, after = _momentum(step, change, before)
    else:
        movement, after = _adaptive(step, change, before, round_in_stage)
    return movement, {name: values.astype(np.float32) for name, values in after.items()}


def moved(weights: NDArray[np.float32], movement: NDArray[np.floating]) -> NDArray[np.float32]:
    """Weights plus a movement of the same shape, in float64 and rounded once; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        reached: NDArray[np.float32] = np.add(weights, movement, dtype=np.float64).astype(
            np.float32
        )
    return reached


def add(
    weights: Arrays, movement: Mapping[str, NDArray[np.floating]]
) -> dict[str, NDArray[np.float32]]:
    """Whole tensors plus their movements; tensors that have none stay as they are."""
    return {
        name: moved(tensor, movement[name]) if name in movement else np.asarray(tensor)
        for name, tensor in weights.items()
    }


def _wide(values: NDArray[np.float32] | None, change: Wide) -> Wide:
    return np.zeros_like(change) if values is None or not values.size else values.astype(np.float64)


def _momentum(
    step: OuterStep, change: Wide, before: Mapping[str, Wide]
) -> tuple[Wide, dict[str, Wide]]:
    """PyTorch's SGD on the negative change d, with or without Nesterov's look ahead (Sutskever et al. 2013).

    Velocity v <- momentum * v + d; then w <- w + rate * v, or for Nesterov w <- w + rate * (d + momentum * v). Nesterov with rate 0.7 and momentum 0.9 is the outer
    step of DiLoCo (Douillard et al. 2023, https://arxiv.org/abs/2311.08105); without Nesterov it is FedAvgM (Hsu et
    al. 2019, https://arxiv.org/abs/1909.06335).
    """
    velocity = step.momentum * before["momentum"] + change
    ahead = change + step.momentum * velocity if step.nesterov else velocity
    return step.learning_rate * ahead, {"momentum": velocity}


def _adaptive(
    step: OuterStep, change: Wide, before: Mapping[str, Wide], round_in_stage: int
) -> tuple[Wide, dict[str, Wide]]:
    """FedAdam and FedYogi (Reddi et al. 2021), with the bias correction of Adam (Kingma and Ba 2015).

    m <- beta1 m + (1 - beta1) d; v <- beta2 v + (1 - beta2) d^2, or for Yogi (Zaheer et al. 2018)
    v <- v - (1 - beta2) d^2 sign(v - d^2); w <- w + rate * m' / (sqrt(v') + tau), where m' = m / (1 - beta1^t),
    v' = v / (1 - beta2^t) and t counts rounds from 1. The first step is then rate * d / (|d| + tau).
    """
    squared = np.square(change)
    mean = step.beta1 * before["momentum"] + (1 - step.beta1) * change
    if step.kind == "yogi":
        sign = np.sign(before["variance"] - squared)
        variance = before["variance"] - (1 - step.beta2) * squared * sign
    else:
        variance = step.beta2 * before["variance"] + (1 - step.beta2) * squared
    root = np.sqrt(variance / (1 - step.beta2**round_in_stage))
    corrected = mean / (1 - step.beta1**round_in_stage)
    return step.learning_rate * corrected / (root + step.tau), {
        "momentum": mean,
        "variance": variance,
    }

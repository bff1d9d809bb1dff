"""The outer step against the optimizers it is named after, and against numbers worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from federation.stages import OuterStep
from model.arrays import Arrays, digest_arrays
from server.aggregation.outer import add, moment_names, moved, outer_piece

ROUNDS = 6
VALUES = 12
Narrow = NDArray[np.float32]
Wide = NDArray[np.float64]
FEDADAM = OuterStep(kind="adam", learning_rate=0.05, beta1=0.8, beta2=0.95, tau=1e-3)
FEDYOGI = OuterStep(kind="yogi", learning_rate=0.05, beta1=0.8, beta2=0.95, tau=1e-3)
DILOCO = OuterStep(learning_rate=0.7, momentum=0.9)
ALL = (OuterStep(), DILOCO, OuterStep(momentum=0.9, nesterov=False), FEDADAM, FEDYOGI)


def changes() -> list[Wide]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=VALUES) for _ in range(ROUNDS)]


def ours(step: OuterStep) -> list[Narrow]:
    """Weights after each round, from zero."""
    weights, moments, reached = np.zeros(VALUES, np.float32), dict[str, Narrow](), []
    for number, change in enumerate(changes(), 1):
        movement, moments = outer_piece(step, change, moments, round_in_stage=number)
        weights = moved(weights, movement)
        reached.append(weights)
    return reached


def theirs(
    make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer],
) -> list[Narrow]:
    """The same by an optimizer of torch, whose gradient is the negative change."""
    parameter = torch.nn.Parameter(torch.zeros(VALUES))
    optimizer, reached = make([parameter]), []
    for change in changes():
        parameter.grad = torch.tensor(-change, dtype=torch.float32)
        optimizer.step()
        reached.append(parameter.detach().numpy().copy())
    return reached


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(("rate", "momentum"), [(0.7, 0.9), (1.0, 0.5)])
def test_rounds_with_momentum_are_steps_of_torchs_sgd(
    rate: float, momentum: float, *, nesterov: bool
) -> None:
    step = OuterStep(learning_rate=rate, momentum=momentum, nesterov=nesterov)
    wanted = theirs(
        lambda parameters: torch.optim.SGD(
            parameters, lr=rate, momentum=momentum, nesterov=nesterov
        )
    )
    np.testing.assert_allclose(ours(step), wanted, atol=4e-6)


def test_rounds_of_fedadam_are_steps_of_torchs_adam_from_the_first_one_on() -> None:
    wanted = theirs(
        lambda parameters: torch.optim.Adam(
            parameters,
            lr=FEDADAM.learning_rate,
            betas=(FEDADAM.beta1, FEDADAM.beta2),
            eps=FEDADAM.tau,
        )
    )
    np.testing.assert_allclose(ours(FEDADAM)[0], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(ours(FEDADAM), wanted, atol=2e-7)


@pytest.mark.parametrize("step", [FEDADAM, FEDYOGI], ids=["adam", "yogi"])
def test_the_first_adaptive_step_is_the_rate_in_the_direction_of_the_change(
    step: OuterStep,
) -> None:
    change = np.array([2.0, -0.5, 0.0])
    movement, _ = outer_piece(step, change, {}, round_in_stage=1)
    np.testing.assert_allclose(movement, [0.05 * 2 / 2.001, -0.05 * 0.5 / 0.501, 0.0])


def test_two_rounds_of_yogi_by_hand() -> None:
    step = OuterStep(kind="yogi", learning_rate=0.1, beta1=0.5, beta2=0.75, tau=1.0)
    _, moments = outer_piece(step, np.array([2.0, 2.0]), {}, round_in_stage=1)
    assert moments["momentum"].tolist() == [1.0, 1.0]
    assert moments["variance"].tolist() == [1.0, 1.0]
    movement, moments = outer_piece(step, np.array([3.0, 0.5]), moments, round_in_stage=2)
    # variance: 1 + 0.25 * 9 where the square is above it, 1 - 0.25 * 0.25 where it is below
    assert moments["momentum"].tolist() == [2.0, 0.75]
    assert moments["variance"].tolist() == [3.25, 0.9375]
    roots = np.sqrt(np.array([3.25, 0.9375]) / (1 - 0.75**2))
    expected = 0.1 * np.array([2.0, 0.75]) / 0.75 / (roots + 1)
    np.testing.assert_allclose(movement, expected, rtol=1e-14)


def test_yogi_forgets_a_large_change_more_slowly_than_adam() -> None:
    small, variances = np.array([1e-3]), dict[str, float]()
    for step in (FEDADAM, FEDYOGI):
        _, moments = outer_piece(step, np.array([1.0]), {}, round_in_stage=1)
        for number in range(2, 40):
            _, moments = outer_piece(step, small, moments, round_in_stage=number)
        variances[step.kind] = float(moments["variance"][0])
    assert variances["yogi"] > 0.99 * 0.05 > 5 * variances["adam"]


def test_rate_one_without_momentum_is_the_combined_change_itself() -> None:
    (change, *_) = changes()
    movement, moments = outer_piece(OuterStep(), change, {}, round_in_stage=1)
    assert movement.tobytes() == change.tobytes()
    assert moments == {}


@pytest.mark.parametrize("step", ALL)
def test_a_step_remembers_exactly_the_moments_it_names(step: OuterStep) -> None:
    _, moments = outer_piece(step, changes()[0], {}, round_in_stage=1)
    assert tuple(moments) == moment_names(step)
    assert {values.dtype for values in moments.values()} <= {np.dtype(np.float32)}
    assert {values.shape for values in moments.values()} <= {(VALUES,)}


@pytest.mark.parametrize("step", ALL)
def test_nothing_remembered_is_the_same_as_zeros(step: OuterStep) -> None:
    (change, *_) = changes()
    empty = dict.fromkeys(moment_names(step), np.empty(0, np.float32))
    zeros = dict.fromkeys(moment_names(step), np.zeros(VALUES, np.float32))
    results = [
        outer_piece(step, change, moments, round_in_stage=1)[0] for moments in ({}, empty, zeros)
    ]
    assert len({movement.tobytes() for movement in results}) == 1


@pytest.mark.parametrize("step", ALL)
def test_a_piece_moves_as_it_would_with_the_rest_of_its_tensor(step: OuterStep) -> None:
    (first, second, *_) = changes()
    _, moments = outer_piece(step, first, {}, round_in_stage=1)
    movement, after = outer_piece(step, second, moments, round_in_stage=2)
    half = slice(3, 8)
    held = {name: values[half] for name, values in moments.items()}
    part, rest = outer_piece(step, second[half], held, round_in_stage=2)
    assert part.tobytes() == movement[half].tobytes()
    assert all(rest[name].tobytes() == after[name][half].tobytes() for name in after)


@pytest.mark.parametrize("step", ALL)
def test_what_was_handed_in_is_not_written_to(step: OuterStep) -> None:
    (change, *_) = changes()
    moments = {name: np.ones(VALUES, np.float32) for name in moment_names(step)}
    before = change.copy(), digest_arrays(moments)
    outer_piece(step, change, moments, round_in_stage=3)
    assert change.tobytes() == before[0].tobytes()
    assert digest_arrays(moments) == before[1]


def test_the_momentum_of_a_tensor_that_rested_is_as_it_was_when_it_trains_again() -> None:
    first, second, third, *_ = changes()
    _, down = outer_piece(DILOCO, first, {}, round_in_stage=1)
    _, up = outer_piece(DILOCO, second, {}, round_in_stage=1)
    movement, _ = outer_piece(DILOCO, third, down, round_in_stage=2)
    velocity = 0.9 * first.astype(np.float32).astype(np.float64) + third
    np.testing.assert_array_equal(movement, 0.7 * (third + 0.9 * velocity))
    assert up["momentum"].tobytes() == second.astype(np.float32).tobytes()


def test_rounds_count_from_one() -> None:
    with pytest.raises(ValueError, match="counts from 1"):
        outer_piece(FEDADAM, changes()[0], {}, round_in_stage=0)


def test_a_sum_is_rounded_once() -> None:
    weights: Arrays = {"w": np.array([1.0], np.float32), "still": np.array([2.0], np.float32)}
    reached = add(weights, {"w": np.array([2.0**-24 + 2.0**-50])})
    assert reached["w"] == np.float32(1.0 + 2.0**-23)
    assert reached["still"] is weights["still"]


def test_what_is_too_large_becomes_infinite_and_not_a_warning() -> None:
    assert moved(np.array([3e38], np.float32), np.array([3e38])).tolist() == [np.inf]

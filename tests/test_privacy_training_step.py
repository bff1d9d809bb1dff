"""One private step: noise of the right scale on every step, and plain training underneath."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from privacy.training.entropy import SystemEntropy
from privacy.training.gradients import Ghost, LossOf, Materialised, clipping
from privacy.training.mechanism import LossRelease, Mechanism
from privacy.training.step import NoisedLoss, mean_loss, noised, noised_loss, private_step

SIGMA, BOUND, BATCH_SIZE = 1.5, 0.2, 4
TERMS = Mechanism(
    noise_multiplier=SIGMA, sample_rate=0.5, max_grad_norm=BOUND, batch_size=BATCH_SIZE
)
PLAIN = Mechanism(noise_multiplier=0.0, sample_rate=1.0, max_grad_norm=float("inf"), batch_size=5)
UNLIKELY = 1e-6
"""A test with this bound fails once in a million runs of correct code."""


class Coins:
    """Everyone's coin shows the same; noise is the system's, and counted."""

    def __init__(self, shown: float) -> None:
        self.shown, self.drawn, self.system = shown, list[int](), SystemEntropy()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """The same number for everyone."""
        return np.full(count, self.shown)

    def normal(self, count: int) -> NDArray[np.float64]:
        """Of the system."""
        self.drawn.append(count)
        return self.system.normal(count)

    def torch_generator(self) -> torch.Generator:
        """Of the system."""
        return self.system.torch_generator()


def wide_network() -> nn.Sequential:
    """20 401 numbers."""
    return nn.Sequential(nn.Linear(100, 200), nn.Tanh(), nn.Linear(200, 1))


def losses_of(network: nn.Module, num_patients: int = 5) -> LossOf:
    given = torch.randn(num_patients, 100, generator=torch.Generator().manual_seed(1))

    def losses(patients: NDArray[np.int64]) -> Tensor:
        result: Tensor = (network(given[patients]) - 1).square().flatten()
        return result

    return losses


def moves(network: nn.Module, terms: Mechanism, coins: Coins, num_steps: int) -> list[Tensor]:
    """What each of some steps of plain descent adds to all weights."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    changes = []
    with clipping(network, Materialised) as clipper:
        for _ in range(num_steps):
            before = nn.utils.parameters_to_vector(network.parameters()).detach()
            private_step(
                clipper,
                optimizer,
                losses_of(network),
                terms,
                num_patients=5,
                at_once=2,
                entropy=coins,
            )
            changes.append(nn.utils.parameters_to_vector(network.parameters()).detach() - before)
    return changes


def accepts(noise: Tensor, scale: float) -> bool:
    """Whether numbers look normal with this standard deviation."""
    return bool(stats.kstest(noise.double().numpy() / scale, "norm").pvalue > UNLIKELY)


def test_a_step_that_drew_nobody_is_noise_of_the_right_scale() -> None:
    (change,) = moves(wide_network(), TERMS, Coins(shown=0.9), 1)
    expected = SIGMA * BOUND / BATCH_SIZE
    assert accepts(change, expected)
    spread = float(change.double().std())
    assert abs(spread / expected - 1) < 5 / np.sqrt(2 * len(change))  # 5 standard errors, 2.5 %


@pytest.mark.parametrize("wrong", [1 / 5, 0.9, 1.1, 2.0])
def test_noise_of_a_wrong_scale_would_be_noticed(wrong: float) -> None:
    (change,) = moves(wide_network(), TERMS, Coins(shown=0.9), 1)
    assert not accepts(change, wrong * SIGMA * BOUND / BATCH_SIZE)


def test_noise_is_fresh_in_every_step_and_every_tensor() -> None:
    network, coins = wide_network(), Coins(shown=0.9)
    first, second = moves(network, TERMS, coins, 2)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / np.sqrt(len(first))
    sizes = [part.numel() for part in network.parameters()]
    assert coins.drawn == 2 * sizes


def test_noise_is_added_to_what_patients_add() -> None:
    network = wide_network()
    (quiet,) = moves(
        deepcopy(network),
        Mechanism(
            noise_multiplier=0.0, sample_rate=0.5, max_grad_norm=BOUND, batch_size=BATCH_SIZE
        ),
        Coins(shown=0.1),
        1,
    )
    (loud,) = moves(deepcopy(network), TERMS, Coins(shown=0.1), 1)
    assert quiet.norm() > 0
    assert accepts(loud - quiet, SIGMA * BOUND / BATCH_SIZE)


@pytest.mark.parametrize(("shown", "drawn"), [(0.49, 5), (0.5, 0)])
def test_patients_are_drawn_at_the_sample_rate_of_the_study(shown: float, drawn: int) -> None:
    network, seen = wide_network(), list[int]()
    losses = losses_of(network)

    def watched(patients: NDArray[np.int64]) -> Tensor:
        seen.extend(patients)
        return losses(patients)

    with clipping(network, Materialised) as clipper:
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        private_step(
            clipper, optimizer, watched, TERMS, num_patients=5, at_once=2, entropy=Coins(shown)
        )
    assert len(seen) == drawn


@pytest.mark.parametrize("num_patients", [0, 1, 5])
def test_the_sum_is_divided_by_the_same_number_whoever_was_drawn(num_patients: int) -> None:
    network = nn.Linear(100, 1, bias=False)
    nn.init.zeros_(network.weight)
    terms = Mechanism(noise_multiplier=0.0, sample_rate=1.0, max_grad_norm=1e-3, batch_size=50)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    same = torch.ones(100)
    with clipping(network, Ghost) as clipper:
        private_step(
            clipper,
            optimizer,
            lambda patients: (network(same.expand(len(patients), 100)) - 9).square().flatten(),
            terms,
            num_patients=num_patients,
            at_once=2,
            entropy=SystemEntropy(),
        )
    moved = float(network.weight.detach().norm())
    assert moved == pytest.approx(num_patients * 1e-3 / 50, rel=1e-4)


@pytest.mark.parametrize("way", [Materialised, Ghost])
def test_without_noise_and_bound_a_step_is_plain_training(way: type[Materialised | Ghost]) -> None:
    private = wide_network()
    plain = deepcopy(private)
    start = nn.utils.parameters_to_vector(plain.parameters()).detach()
    slow, fast = (torch.optim.SGD(n.parameters(), lr=0.005, momentum=0.9) for n in (plain, private))
    with clipping(private, way) as clipper:
        for _ in range(5):
            private_step(
                clipper,
                fast,
                losses_of(private),
                PLAIN,
                num_patients=5,
                at_once=2,
                entropy=SystemEntropy(),
            )
            slow.zero_grad()
            torch.autograd.backward(losses_of(plain)(np.arange(5)).mean())
            slow.step()
    expected, found = (
        nn.utils.parameters_to_vector(n.parameters()).detach() - start for n in (plain, private)
    )
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_an_empty_step_moves_the_optimizers_state() -> None:
    network = nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    with clipping(network, Materialised) as clipper:
        for _ in range(3):
            private_step(
                clipper,
                optimizer,
                losses_of(network),
                TERMS,
                num_patients=0,
                at_once=1,
                entropy=SystemEntropy(),
            )
    assert [int(state["step"]) for state in optimizer.state.values()] == [3, 3]


def test_noise_is_as_fine_as_float32_allows() -> None:
    result = noised(torch.zeros(10_000), 0.5, SystemEntropy())
    assert result.dtype is torch.float32
    assert len(set(result.tolist())) > 9_900  # numbers in bfloat16 repeat after some 3 000
    assert accepts(result, 0.5)


def loss_parts(losses: Sequence[float], count: int) -> tuple[Tensor, Tensor]:
    """Many totals and numbers that leave for the same losses."""
    release = LossRelease(noise_multiplier=2.0, max_loss=0.5)
    entropy = SystemEntropy()
    drawn = [noised_loss(torch.tensor(losses), release, entropy) for _ in range(count)]
    return torch.tensor([d.total for d in drawn]), torch.tensor([d.count for d in drawn])


def test_a_loss_leaves_bounded_and_with_noise_of_the_right_scale() -> None:
    totals, counts = loss_parts([0.1, 7.0, float("nan"), float("inf"), -1.0], 4000)
    assert accepts(totals - (0.1 + 0.5 + 0.0 + 0.5 + 0.0), 2.0 * 0.5)
    assert accepts(counts - 5, 2.0)
    assert not accepts(counts - 4, 2.0)
    assert not accepts(totals - 1.1, 2.0 * 0.5 / 1.5)


def test_a_rounds_loss_is_the_sum_of_totals_over_the_sum_of_counts() -> None:
    steps = [NoisedLoss(total=1.0, count=1.0), NoisedLoss(total=2.0, count=5.0)]
    assert mean_loss(steps) == 0.5
    assert np.isnan(mean_loss([]))
    assert np.isnan(mean_loss([NoisedLoss(total=1.0, count=-2.0)]))


def test_no_loss_leaves_a_study_that_does_not_pay_for_it() -> None:
    network, coins = nn.Linear(100, 1), Coins(shown=0.9)
    with clipping(network, Materialised) as clipper:
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        left = private_step(
            clipper, optimizer, losses_of(network), TERMS, num_patients=5, at_once=2, entropy=coins
        )
    assert left is None

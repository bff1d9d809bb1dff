"""The self-test at the start notices a network or a library that hides what a patient adds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privacy.training.checks import NotPrivate
from privacy.training.gradients import Clipped, Ghost, LossOf, Materialised
from privacy.training.self_test import NUM_PATIENTS, TOLERANCE, opened, self_test


class Mixing(nn.Module):
    """Centres its input over the batch, which no check of names finds."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.first, self.second, self.strength = nn.Linear(6, 5), nn.Linear(5, 1), strength
        generator = torch.Generator().manual_seed(3)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.4, 0.4, generator=generator)

    def forward(self, given: Tensor) -> Tensor:
        """One number per patient."""
        hidden = self.first(given)
        result: Tensor = self.second((hidden - self.strength * hidden.mean(dim=0)).tanh())
        return result


def losses_of(network: nn.Module) -> LossOf:
    given = torch.randn(NUM_PATIENTS, 6, generator=torch.Generator().manual_seed(2))

    def losses(patients: NDArray[np.int64]) -> Tensor:
        result: Tensor = network(given[patients]).square().flatten()
        return result

    return losses


@pytest.mark.parametrize("way", [Materialised, Ghost])
def test_a_network_without_mixing_passes(way: type[Materialised | Ghost]) -> None:
    network = Mixing(strength=0.0)
    assert self_test(network, way, losses_of(network)) < TOLERANCE / 10


@pytest.mark.parametrize("way", [Materialised, Ghost])
def test_a_network_that_mixes_patients_is_refused(way: type[Materialised | Ghost]) -> None:
    network = Mixing(strength=0.01)
    with pytest.raises(NotPrivate, match="self-test"):
        self_test(network, way, losses_of(network))


class TooLong(Materialised):
    """Clips to a bound that is not the one it was told."""

    def clip(self, loss_of: LossOf, patients: NDArray[np.int64], max_grad_norm: float) -> Clipped:
        """A tenth of a per cent too much."""
        return super().clip(loss_of, patients, max_grad_norm * 1.001)


class Unclipped(Materialised):
    """Forgets to clip."""

    def clip(
        self,
        loss_of: LossOf,
        patients: NDArray[np.int64],
        max_grad_norm: float,  # noqa: ARG002
    ) -> Clipped:
        """Everything."""
        return super().clip(loss_of, patients, float("inf"))


@pytest.mark.parametrize("wrong", [TooLong, Unclipped])
def test_clipping_at_another_bound_is_refused(wrong: Callable[[nn.Module], Materialised]) -> None:
    network = Mixing(strength=0.0)
    with pytest.raises(NotPrivate, match="self-test"):
        self_test(network, wrong, losses_of(network))


def test_a_fresh_adapter_or_gate_does_not_make_the_test_blind() -> None:
    network = Mixing(strength=0.01)
    nn.init.zeros_(network.second.weight)
    with pytest.raises(NotPrivate, match="self-test"):
        self_test(network, Materialised, losses_of(network))


def test_a_loss_that_depends_on_nothing_is_refused() -> None:
    network = Mixing(strength=0.0)

    def constant(patients: NDArray[np.int64]) -> Tensor:
        return 0 * losses_of(network)(patients)

    with pytest.raises(NotPrivate, match="self-test"):
        self_test(network, Materialised, constant)


def test_the_network_is_as_before_afterwards() -> None:
    network = Mixing(strength=0.0)
    nn.init.zeros_(network.second.weight)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with opened(network):
        assert network.second.weight.any()
    self_test(network, Ghost, losses_of(network))
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)

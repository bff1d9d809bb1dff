"""FedProx against the penalised loss it stands for."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from client.proximal import add_proximal

WEIGHT = 0.3


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def weights(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator)
        for name, value in network().named_parameters()
    }


def holding(values: dict[str, Tensor]) -> nn.Module:
    model = network()
    model.load_state_dict(values)
    return model


def loss_of(model: nn.Module) -> Tensor:
    batch = torch.linspace(-1, 1, 24).reshape(8, 3)
    loss: Tensor = model(batch).square().mean()
    return loss


def test_the_gradient_is_that_of_the_penalised_loss() -> None:
    received, model = weights(1), holding(weights(2))
    parameters = dict(model.named_parameters())
    penalty = sum((parameters[name] - received[name]).square().sum() for name in parameters)
    expected = torch.autograd.grad(loss_of(model) + WEIGHT / 2 * penalty, list(parameters.values()))
    torch.autograd.backward(loss_of(model))
    add_proximal(parameters, received, WEIGHT)
    for parameter, gradient in zip(parameters.values(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_twice_as_far_away_the_pull_is_twice_as_strong() -> None:
    received = {"w": torch.zeros(5)}
    near, far = (nn.Parameter(torch.full((5,), distance)) for distance in (1.0, 2.0))
    for parameter in (near, far):
        add_proximal({"w": parameter}, received, WEIGHT)
    assert near.grad is not None
    assert torch.equal(near.grad, torch.full((5,), WEIGHT))
    assert far.grad is not None
    assert torch.equal(far.grad, 2 * near.grad)


def test_where_training_began_nothing_pulls() -> None:
    received, model = weights(1), holding(weights(1))
    torch.autograd.backward(loss_of(model))
    before = {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }
    add_proximal(dict(model.named_parameters()), received, WEIGHT)
    assert len(before) == 4
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, before[name])


def test_a_weight_of_zero_leaves_parameters_without_a_gradient_alone() -> None:
    parameter = nn.Parameter(torch.ones(2))
    add_proximal({"w": parameter}, {"w": torch.zeros(2)}, 0.0)
    assert parameter.grad is None


@pytest.fixture
def first_of_two() -> Iterator[None]:
    """This process believes to be one of two that never answer."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("first_of_two")
def test_a_process_pulls_its_own_part_without_asking_the_others() -> None:
    mesh = init_device_mesh("cpu", (2,))

    def part(tensor: Tensor) -> DTensor:
        return distribute_tensor(tensor, mesh, [Shard(0)], src_data_rank=None)

    whole = torch.arange(12.0).reshape(4, 3)
    parameter = nn.Parameter(part(whole))
    parameter.grad = part(torch.ones(4, 3))
    add_proximal({"w": parameter}, {"w": part(torch.ones(4, 3))}, 2.0)
    assert isinstance(parameter.grad, DTensor)
    assert parameter.grad.placements == (Shard(0),)
    torch.testing.assert_close(parameter.grad.to_local(), (1 + 2 * (whole - 1))[:2])

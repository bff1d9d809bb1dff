"""Activation checkpointing: the same gradients from less memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from model.adapter import attach
from model.conditioning import Schema
from model.config import AdapterConfig, model_config
from model.flow import draw_noise, flow_loss
from model.initial import initial_network
from model.transformer import RectifiedFlowTransformer

SIDE = 32


def loss_of(network: nn.Module) -> Tensor:
    """The same loss every time, of three records with two draws each."""
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(3, 1, SIDE, SIDE, generator=generator) * 2 - 1
    draws = draw_noise(tuple(image.shape), 2, SIDE, generator)
    return flow_loss(network, image, torch.ones(3, 20), draws).mean()


@pytest.fixture
def network() -> RectifiedFlowTransformer:
    """A network whose gates and head are open."""
    opened = initial_network(model_config("tiny", SIDE), Schema(), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in opened.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return opened


def gradients(network: nn.Module) -> dict[str, Tensor]:
    network.zero_grad()
    torch.autograd.backward(loss_of(network))
    return {name: part.grad for name, part in network.named_parameters() if part.grad is not None}


def remembered(step: Callable[[], object]) -> int:
    """Numbers that autograd keeps between the two passes, at most."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values())


@pytest.mark.parametrize("adapted", [False, True])
def test_computing_a_block_again_changes_no_gradient(
    network: RectifiedFlowTransformer, *, adapted: bool
) -> None:
    config = AdapterConfig(rank=2, alpha=2.0)
    trained = attach(network, config, torch.Generator()) if adapted else network
    expected = gradients(trained)
    network.recompute = True
    torch.testing.assert_close(gradients(trained), expected, atol=1e-6, rtol=1e-6)


def test_half_precision_is_computed_again_as_it_was(network: RectifiedFlowTransformer) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = gradients(network)
        network.recompute = True
        again = gradients(network)
    torch.testing.assert_close(again, expected, atol=1e-6, rtol=1e-6)


def test_less_is_remembered_between_the_two_passes(network: RectifiedFlowTransformer) -> None:
    usual = remembered(lambda: loss_of(network))
    network.recompute = True
    assert remembered(lambda: loss_of(network)) < 0.3 * usual


def test_both_passes_reach_the_end_of_every_block(network: RectifiedFlowTransformer) -> None:
    calls: list[nn.Module] = []
    for block in network.blocks:
        block.register_forward_hook(lambda layer, *_: calls.append(layer))
    network.recompute = True
    gradients(network)
    assert len(calls) == 2 * len(network.blocks)


def test_sampling_remembers_nothing_either_way(network: RectifiedFlowTransformer) -> None:
    network.recompute = True
    with torch.no_grad():
        assert remembered(lambda: loss_of(network)) == 0

"""What a hospital's profile changes about how a network computes."""

import shutil

import pytest
import torch

from client.config import TrainingMachine
from client.preparation import NoCompiler, prepare
from model.adapter import attach
from model.block import Block
from model.conditioning import Schema
from model.config import AdapterConfig, model_config
from model.initial import initial_network
from model.transformer import RectifiedFlowTransformer


@pytest.fixture
def network() -> RectifiedFlowTransformer:
    return initial_network(model_config("tiny", 16), Schema(), 1)


def num_compiled(network: RectifiedFlowTransformer) -> int:
    """Blocks that will be compiled when they are first called."""
    return sum(
        block._compiled_call_impl is not None  # noqa: SLF001  torch has no public name
        for block in network.blocks
        if isinstance(block, Block)
    )


def test_the_usual_profile_changes_nothing(network: RectifiedFlowTransformer) -> None:
    prepare(network, TrainingMachine())
    assert not network.recompute
    assert num_compiled(network) == 0


def test_the_network_below_an_adapter_is_reached(network: RectifiedFlowTransformer) -> None:
    adapted = attach(network, AdapterConfig(rank=2, alpha=2.0), torch.Generator())
    prepare(adapted, TrainingMachine(recompute=True))
    assert network.recompute


@pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning"
)  # torch's own, when it is loaded
def test_every_block_is_compiled(
    network: RectifiedFlowTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/g++")
    prepare(network, TrainingMachine(compile=True))
    assert num_compiled(network) == len(network.blocks)


def test_a_machine_without_compiler_is_told_so_before_training(
    network: RectifiedFlowTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(NoCompiler, match=r"installs one \(g\+\+\) or takes the line out"):
        prepare(network, TrainingMachine(compile=True))
    prepare(network, TrainingMachine(compile=False))

"""Making a network train as the hospital's profile says: with less memory, or compiled."""

import shutil

from torch import nn

from client.config import TrainingMachine
from model.block import Block
from model.transformer import RectifiedFlowTransformer

COMPILERS = ("c++", "g++", "clang++")


class NoCompiler(RuntimeError):
    """The profile asks for compilation, and the machine has nothing to compile with."""

    def __init__(self) -> None:
        super().__init__(
            "training.compile is true in the hospital's profile and this machine has no C++ compiler: its data "
            "manager installs one (g++) or takes the line out."
        )


def prepare(network: nn.Module, machine: TrainingMachine) -> None:
    """Change how a network computes, not what.

    Raises:
        NoCompiler: there is nothing to compile with.
    """
    if machine.compile and not any(map(shutil.which, COMPILERS)):
        raise NoCompiler
    for module in network.modules():
        if isinstance(module, RectifiedFlowTransformer):
            module.recompute = machine.recompute
        if isinstance(module, Block) and machine.compile:
            module.compile(dynamic=False)

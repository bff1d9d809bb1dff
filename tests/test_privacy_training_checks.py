"""What differential privacy cannot honour is refused, each with its reason."""

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from privacy.training.checks import NotPrivate, check_network, check_optimizer, check_precision
from privacy.training.mechanism import LossRelease, Mechanism, require_private


class Own(nn.Module):
    """Holds a parameter outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(3))


class Frozen(nn.Linear):
    """Looks like a layer, and may compute something else."""


def adapted(base: nn.Module, **choices: object) -> nn.Module:
    """With an adapter that PEFT attaches."""
    network = nn.ModuleDict({"layer": base})
    return get_peft_model(network, LoraConfig(target_modules=["layer"], r=2, **choices))  # type: ignore[arg-type]


def tied() -> nn.Module:
    """Two layers of one weight."""
    pair = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    pair[1].weight = pair[0].weight
    return pair


def twice() -> nn.Module:
    """One layer in two places."""
    layer = nn.Linear(3, 3)
    return nn.ModuleList([layer, layer])


def with_buffer() -> nn.Module:
    """A layer that remembers something."""
    layer = nn.Linear(3, 3)
    layer.register_buffer("seen", torch.zeros(1))
    return layer


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch norm": (lambda: nn.BatchNorm2d(3), "mixes patients"),
    "frozen batch norm": (
        lambda: nn.BatchNorm1d(3).requires_grad_(requires_grad=False),
        "BatchNorm",
    ),
    "running statistics": (lambda: nn.InstanceNorm2d(3, track_running_stats=True), "running"),
    "dora": (lambda: adapted(nn.Linear(3, 3), use_dora=True), "DoRA"),
    "lora on an embedding": (lambda: adapted(nn.Embedding(3, 4)), "embedding with LoRA"),
    "one weight in two layers": (tied, "shared modules"),
    "one layer in two places": (twice, "shared modules"),
    "bfloat16": (lambda: nn.Linear(3, 3).bfloat16(), "bfloat16"),
    "a bare parameter": (Own, "trains a parameter of a Own"),
    "a subclass": (lambda: Frozen(3, 3), "Frozen"),
    "a buffer": (with_buffer, "buffer"),
    "an embedding that renormalises": (lambda: nn.Embedding(3, 3, max_norm=1.0), "renormalises"),
    "nothing": (lambda: nn.Linear(3, 3).requires_grad_(requires_grad=False), "nothing trains"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_network_that_cannot_be_private_is_refused_with_the_reason(kind: str) -> None:
    build, reason = REFUSED[kind]
    with pytest.raises(NotPrivate, match=reason) as refusal:
        check_network(build())
    assert str(refusal.value).startswith("differentially private training is refused: ")


def test_a_compiled_block_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 3))
    network[0].compile(backend="eager")
    with pytest.raises(NotPrivate, match=r"training\.compile"):
        check_network(network)


@pytest.mark.parametrize("choices", [{}, {"use_rslora": True}, {"lora_bias": True}])
def test_lora_on_linear_layers_is_taken(choices: dict[str, object]) -> None:
    check_network(adapted(nn.Linear(3, 3), **choices))


def test_frozen_matrices_of_half_precision_are_taken() -> None:
    network = nn.ModuleList([nn.Linear(3, 3).bfloat16(), nn.Linear(3, 3)])
    network[0].requires_grad_(requires_grad=False)
    check_network(network)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_usual_optimizers_are_taken(kind: Callable[..., torch.optim.Optimizer]) -> None:
    layer = nn.Linear(3, 3)
    check_optimizer(kind(layer.parameters(), lr=1.0), layer)


def test_muon_is_refused() -> None:
    layer = nn.Linear(3, 3, bias=False)
    with pytest.raises(NotPrivate, match="Muon gives every direction"):
        check_optimizer(torch.optim.Muon(layer.parameters()), layer)


def test_an_optimizer_that_evaluates_the_loss_itself_is_refused() -> None:
    layer = nn.Linear(3, 3)
    with pytest.raises(NotPrivate, match="LBFGS"):
        check_optimizer(torch.optim.LBFGS(layer.parameters()), layer)


def test_an_optimizer_of_other_tensors_is_refused() -> None:
    layer = nn.Linear(3, 3)
    with pytest.raises(NotPrivate, match="other tensors"):
        check_optimizer(torch.optim.SGD([layer.weight], lr=1.0), layer)


def test_arithmetic_in_half_precision_is_refused() -> None:
    check_precision("fp32")
    with pytest.raises(NotPrivate, match="precision is bf16"):
        check_precision("bf16")


def mechanism(**changes: object) -> Mechanism:
    numbers = {"noise_multiplier": 1.0, "sample_rate": 0.5, "max_grad_norm": 1.0, "batch_size": 2}
    return Mechanism(**(numbers | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multiplier": -1.0},
        {"noise_multiplier": float("nan")},
        {"max_grad_norm": 0.0},
        {"max_grad_norm": float("inf")},
        {"sample_rate": 0.0},
        {"sample_rate": 1.1},
        {"batch_size": 0},
    ],
)
def test_numbers_without_a_meaning_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|needs"):
        mechanism(**changes)


def test_a_mechanism_without_noise_is_kept_from_hospitals() -> None:
    require_private(mechanism())
    with pytest.raises(NotPrivate, match="noise_multiplier is 0"):
        require_private(mechanism(noise_multiplier=0.0, max_grad_norm=float("inf")))
    with pytest.raises(NotPrivate, match="loss_noise_multiplier is 0"):
        require_private(mechanism(loss=LossRelease(noise_multiplier=0.0, max_loss=1.0)))

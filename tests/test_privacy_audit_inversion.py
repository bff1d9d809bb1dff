"""Reading a phantom out of the gradient of one step: possible without privacy, and not with it."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.conditioning import Schema
from model.config import ModelConfig
from model.flow import Draws, flow_loss
from model.initial import initial_network
from privacy.audit.inversion import (
    Attack,
    Found,
    GradientOf,
    clipped_and_noised,
    invert,
    likeness,
    norm_of,
)
from simulation.phantom import Phantom
from simulation.style import STYLES

SIDE = 16
ATTACK = Attack(num_steps=120)


@pytest.fixture(scope="module")
def chests() -> Tensor:
    """Two patients, (2, 1, 16, 16)."""
    phantom = Phantom(32)
    pictures = [
        phantom.render(
            findings=findings,
            patient_seed=seed,
            study_seed=seed,
            sex=sex,
            age=age,
            view="PA",
            style=STYLES["plain"],
        )
        for findings, seed, sex, age in (({"cardiomegaly"}, 1, "F", 30), (set[str](), 2, "M", 80))
    ]
    small = np.stack(pictures).reshape(2, SIDE, 2, SIDE, 2).mean((2, 4))
    return torch.from_numpy(small).float()[:, None] * 2 - 1


@pytest.fixture(scope="module")
def gradient_of() -> GradientOf:
    """One step of a small network in which every layer has its say, without a condition."""
    config = ModelConfig(
        size="tiny",
        image_size=SIDE,
        patch_size=4,
        dim=48,
        depth=1,
        head_dim=16,
        hidden_dim=64,
        bottleneck_dim=16,
        num_registers=1,
        context_start=0,
    )
    schema, generator = Schema(()), torch.Generator().manual_seed(4)
    network = initial_network(config, schema, seed=3)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    parameters = list(network.parameters())
    condition = torch.zeros(1, len(schema.names))
    draws = Draws(
        t=torch.tensor([[0.6]]), noise=torch.randn(1, 1, 1, SIDE, SIDE, generator=generator)
    )

    def gradient(image: Tensor) -> Sequence[Tensor]:
        with sdpa_kernel(SDPBackend.MATH):
            loss = flow_loss(network, image, condition, draws).mean()
            return torch.autograd.grad(loss, parameters, create_graph=True)

    return gradient


def attacked(observed: Sequence[Tensor], gradient_of: GradientOf) -> Found:
    return invert(
        observed,
        gradient_of,
        shape=(1, 1, SIDE, SIDE),
        attack=ATTACK,
        generator=torch.Generator().manual_seed(1),
    )


def constant(gradient: Sequence[Tensor]) -> list[Tensor]:
    return [part.detach() for part in gradient]


@pytest.mark.slow
def test_a_bare_gradient_gives_the_radiograph_away_and_a_private_one_does_not(
    chests: Tensor, gradient_of: GradientOf
) -> None:
    truth, other = chests[:1], chests[1:]
    bare = constant(gradient_of(truth))
    private = clipped_and_noised(
        bare,
        noise_multiplier=1.0,
        max_grad_norm=norm_of(bare),
        generator=torch.Generator().manual_seed(2),
    )
    observed = (bare, constant(gradient_of(other)), private)
    found, unrelated, hidden = (attacked(one, gradient_of) for one in observed)
    alike, common, left = (likeness(one.pictures, truth) for one in (found, unrelated, hidden))
    assert found.match > 0.95 > hidden.match
    assert alike.correlation > common.correlation + 0.1
    assert alike.psnr > common.psnr + 3
    assert left.correlation < common.correlation + 0.1


def test_likeness_does_not_care_for_brightness_and_contrast_and_takes_the_best_picture(
    chests: Tensor,
) -> None:
    noise = torch.randn(chests.shape, generator=torch.Generator().manual_seed(1))
    mixed = torch.cat([noise[:1], 0.3 * chests[1:] + 0.2])
    found = likeness(mixed, chests)
    assert found.correlation == pytest.approx(1.0, abs=1e-6)
    assert found.psnr > 60


def test_psnr_is_of_the_error_that_a_straight_line_leaves() -> None:
    truth = torch.tensor([-1.0, 1.0, -1.0, 1.0]).reshape(1, 1, 2, 2)
    found = torch.tensor([-1.0, 1.0, 1.0, 1.0]).reshape(1, 1, 2, 2)
    alike = likeness(found, truth)
    assert alike.correlation == pytest.approx(3**-0.5)
    assert alike.psnr == pytest.approx(10 * np.log10(4 / (2 / 3)))


def test_a_private_gradient_is_clipped_first_and_noised_in_units_of_the_clip() -> None:
    gradient = [torch.full((100, 100), 3.0), torch.zeros(100, 100)]
    generator = torch.Generator().manual_seed(3)
    silent = clipped_and_noised(
        gradient, noise_multiplier=0.0, max_grad_norm=2.0, generator=generator
    )
    assert norm_of(silent) == pytest.approx(2.0, rel=1e-5)
    noisy = clipped_and_noised(
        gradient, noise_multiplier=1.5, max_grad_norm=2.0, generator=generator
    )
    assert float(noisy[1].std()) == pytest.approx(3.0, rel=0.03)  # of 10,000: 0.7 % off is usual


def test_a_search_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Attack(num_steps=0)

"""Simple measures of a chest: what they find in phantoms, and what they refuse."""

import numpy as np
import pytest
import torch
from torch import Tensor

from model.evaluation.plausibility import CHECKS, plausibility
from simulation.phantom import Phantom
from simulation.style import STYLES

NUM = 40


@pytest.fixture(scope="module")
def chests() -> Tensor:
    """Phantoms of both sexes, both views and every age, half of them ill."""
    phantom, styles = Phantom(64), sorted(STYLES)
    pictures = [
        phantom.render(
            findings=({"lung_lesion"}, set[str](), {"cardiomegaly"})[number % 3],
            patient_seed=number,
            study_seed=number,
            sex="FM"[number % 2],
            age=20.0 + 1.5 * number,
            view=("PA", "AP")[number // 2 % 2],
            style=STYLES[styles[number % len(styles)]],
        )
        for number in range(NUM)
    ]
    return torch.from_numpy(np.stack(pictures)).float()[:, None] * 2 - 1


def shares(images: Tensor) -> dict[str, float]:
    """Share of the pictures that pass each check."""
    found = plausibility(images)
    return {name: float(getattr(found, name).mean()) for name in CHECKS}


def test_nearly_every_phantom_is_a_chest_the_right_way_round(chests: Tensor) -> None:
    found = shares(chests)
    assert found["lung_fields"] > 0.9
    assert found["upright"] == 1.0
    assert found["heart_side"] > 0.8
    assert found["left_right"] > 0.85


def test_a_mirrored_chest_has_its_heart_on_the_wrong_side_and_is_otherwise_a_chest(
    chests: Tensor,
) -> None:
    found = shares(chests.flip(3))
    assert max(found["heart_side"], found["left_right"]) < 0.2
    assert min(found["lung_fields"], found["upright"]) > 0.9


def test_a_chest_upside_down_is_not_upright(chests: Tensor) -> None:
    assert shares(chests.flip(2))["upright"] == 0.0


def test_an_inverted_chest_has_no_dark_lungs_and_a_bright_belly_no_more(chests: Tensor) -> None:
    found = shares(-chests)
    assert found["lung_fields"] == found["upright"] == 0.0


def test_noise_and_emptiness_have_no_lungs(chests: Tensor) -> None:
    noise = torch.randn(chests.shape, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    blotches = torch.nn.functional.interpolate(noise[:, :, ::8, ::8], scale_factor=8.0)
    assert shares(noise)["lung_fields"] == 0.0
    assert shares(blotches)["lung_fields"] < 0.2
    assert set(shares(torch.zeros_like(chests)).values()) == {0.0}


def test_one_lung_is_not_two(chests: Tensor) -> None:
    white_out = chests.clone()
    white_out[:, :, :, 36:] = white_out[:, :, :, 36:].clamp_min(0.6)
    assert shares(white_out)["lung_fields"] < 0.1


def test_size_brightness_and_contrast_change_little(chests: Tensor) -> None:
    usual = plausibility(chests)
    large = torch.nn.functional.interpolate(chests, scale_factor=2.0, mode="nearest")
    for other in (large, 0.5 * chests + 0.3):
        found = plausibility(other)
        for name in CHECKS:
            assert (getattr(found, name) == getattr(usual, name)).mean() > 0.97

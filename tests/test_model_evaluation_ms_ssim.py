"""Structural similarity: a golden number from a plain loop, and what it is blind and not blind to."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.evaluation.ms_ssim import WEIGHTS, ms_ssim


def pictures(size: int, seed: int = 1) -> Tensor:
    """Broad shapes with detail, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(3, 1, 8, 8, generator=generator)
    broad = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return (0.4 * broad + 0.1 * torch.randn(3, 1, size, size, generator=generator)).clamp(-1, 1)


def plain(a: NDArray[np.float64], b: NDArray[np.float64], weights: list[float]) -> float:
    """Wang et al. 2003, section 3, window by window."""
    bell = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    result = 1.0
    for scale, weight in enumerate(weights):
        luminances, structures = [], []
        for top in range(len(a) - 10):
            for left in range(len(a) - 10):
                x, y = (p[top : top + 11, left : left + 11] for p in (a, b))
                mx, my = (window * x).sum(), (window * y).sum()
                vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                vxy = (window * (x - mx) * (y - my)).sum()
                luminances.append((2 * mx * my + 0.02**2) / (mx**2 + my**2 + 0.02**2))
                structures.append((2 * vxy + 0.06**2) / (vx + vy + 0.06**2))
        values = np.array(structures)
        if scale == len(weights) - 1:
            values = values * np.array(luminances)
        result *= max(values.mean(), 0.0) ** weight
        a, b = (p.reshape(len(p) // 2, 2, -1, 2).mean(axis=(1, 3)) for p in (a, b))
    return float(result)


def test_the_similarity_is_that_of_a_plain_loop() -> None:
    a = pictures(48)
    b = (0.8 * a + 0.1 * torch.randn(a.shape, generator=torch.Generator().manual_seed(2))).clamp(
        -1, 1
    )
    weights = [weight / sum(WEIGHTS[:3]) for weight in WEIGHTS[:3]]  # 48, 24 and 12 pixels
    expected = plain(a[0, 0].double().numpy(), b[0, 0].double().numpy(), weights)
    assert 0.2 < expected < 0.95
    assert ms_ssim(a, b)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [11, 32, 64, 180])
def test_a_picture_is_like_itself_at_every_size(size: int) -> None:
    np.testing.assert_allclose(ms_ssim(pictures(size), pictures(size)), 1.0)


def test_the_order_of_a_pair_does_not_matter() -> None:
    one, two = pictures(64, 1), pictures(64, 2)
    np.testing.assert_allclose(ms_ssim(one, two), ms_ssim(two, one))


def test_likeness_falls_with_noise_and_is_lowest_for_another_picture() -> None:
    picture, noise = (
        pictures(64),
        torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(3)),
    )
    little, much = (ms_ssim(picture, picture + level * noise).mean() for level in (0.05, 0.3))
    assert 1 > little > much > ms_ssim(picture, pictures(64, 9)).mean() >= 0


def test_pictures_smaller_than_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match="10 pixels wide, similarity needs at least 11"):
        ms_ssim(torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10))

"""Products of thin factors: their nearest product of a lower rank, without writing them out."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.adapter import adapter_shapes
from model.arrays import Arrays, digest_arrays
from model.config import AdapterConfig, model_config
from model.low_rank import (
    DOWN,
    UP,
    layers_of,
    nearest_factors,
    product_norm,
    shapes_at_rank,
    truncate,
    truncate_adapter,
)

MODEL = model_config("tiny", 32)
CONFIG = AdapterConfig(rank=8, alpha=8.0)
SHAPES = adapter_shapes(MODEL, CONFIG)
Wide = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def random_adapter(seed: int = 1) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def factors(seed: int, *, rows: int = 12, inner: int = 5, columns: int = 9) -> tuple[Wide, Wide]:
    """A and B."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(inner, columns)), rng.normal(size=(rows, inner))


def product(adapter: Arrays, layer: str) -> Wide:
    return adapter[layer + UP].astype(np.float64) @ adapter[layer + DOWN].astype(np.float64)


def tail(matrix: Wide, rank: int) -> float:
    """Distance to the nearest matrix of a rank (Eckart and Young 1936)."""
    return float(np.linalg.norm(np.linalg.svd(matrix, compute_uv=False)[rank:]))


@pytest.mark.parametrize("rank", [1, 2, 4, 7])
def test_a_truncated_adapter_misses_what_eckart_and_young_say_and_no_more(rank: int) -> None:
    adapter = random_adapter()
    truncated = truncate_adapter(adapter, rank)
    assert {name: array.shape for name, array in truncated.items()} == shapes_at_rank(SHAPES, rank)
    for layer in layers_of(adapter):
        missed = np.linalg.norm(product(adapter, layer) - product(truncated, layer))
        assert missed == pytest.approx(tail(product(adapter, layer), rank), rel=1e-6)


def test_at_its_own_rank_an_adapter_keeps_its_bits() -> None:
    adapter = random_adapter()
    assert digest_arrays(truncate_adapter(adapter, CONFIG.rank)) == digest_arrays(adapter)


def test_a_fresh_adapter_keeps_the_first_rows_of_a() -> None:
    adapter = random_adapter()
    fresh = {name: array * (not name.endswith(UP)) for name, array in adapter.items()}
    truncated = truncate_adapter(fresh, 3)
    for layer in layers_of(fresh):
        assert np.array_equal(truncated[layer + DOWN], adapter[layer + DOWN][:3])
        assert not truncated[layer + UP].any()


def test_an_adapter_cannot_be_truncated_to_more_than_it_has() -> None:
    with pytest.raises(ValueError, match="rank 8 cannot be truncated to rank 9"):
        truncate_adapter(random_adapter(), 9)


def test_shapes_of_another_rank_are_those_of_an_adapter_of_that_rank() -> None:
    assert shapes_at_rank(SHAPES, 3) == adapter_shapes(MODEL, AdapterConfig(rank=3, alpha=1.0))


@given(seeds)
def test_truncating_twice_is_truncating_once(seed: int) -> None:
    down, up = (factor.astype(np.float32) for factor in factors(seed))
    once = truncate(down, up, 2)
    twice = truncate(*truncate(down, up, 4), 2)
    for one, other in zip(once, twice, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@given(seed=seeds, rank=st.integers(1, 5))
def test_factors_are_balanced_ordered_and_of_one_sign_whatever_basis_they_came_in(
    seed: int, rank: int
) -> None:
    down, up = factors(seed)
    mixing = np.random.default_rng(seed).normal(size=(5, 5)) + 3 * np.eye(5)
    found = nearest_factors(down, up, rank=rank, spare=down.astype(np.float32))
    mixed = nearest_factors(
        mixing @ down, up @ np.linalg.inv(mixing), rank=rank, spare=down.astype(np.float32)
    )
    singular = np.linalg.svd(up @ down, compute_uv=False)[:rank]
    np.testing.assert_allclose(found[0] @ found[0].T, np.diag(singular), atol=1e-9)
    np.testing.assert_allclose(found[1].T @ found[1], np.diag(singular), atol=1e-9)
    largest = np.abs(found[0]).argmax(axis=1)
    assert (found[0][np.arange(rank), largest] > 0).all()
    for one, other in zip(found, mixed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_directions_that_a_product_does_not_have_can_still_be_learned() -> None:
    """A product of rank 2 in factors of rank 4: two directions are 0 in B alone."""
    down, up = factors(1, inner=2)
    spare = factors(2, inner=4)[0].astype(np.float32)
    twice_up, twice_down = np.concatenate([up, up], axis=1), np.concatenate([down, down])
    found_down, found_up = nearest_factors(twice_down, twice_up, rank=4, spare=spare)
    np.testing.assert_allclose(found_up @ found_down, 2 * up @ down, atol=1e-12)
    assert not found_up[:, 2:].any()
    assert np.array_equal(found_down[2:], spare[2:])


@pytest.mark.parametrize("digits", [0, 2, 4, 6, 8, 12, 20])
def test_directions_of_very_different_size_lose_no_more_than_single_precision_does(
    digits: int,
) -> None:
    down, up = factors(4)
    sizes = 10.0 ** -np.linspace(0, digits, len(down))
    up = up * sizes
    found = nearest_factors(sizes[:, None] * down, up, rank=3, spare=down.astype(np.float32))
    left, singular, right = np.linalg.svd(up @ (sizes[:, None] * down))
    nearest = (left[:, :3] * singular[:3]) @ right[:3]
    assert np.linalg.norm(found[1] @ found[0] - nearest) < 1e-8 * singular[0]


def test_products_that_cancel_leave_nothing() -> None:
    down, up = factors(3)
    nothing_up, nothing_down = np.concatenate([up, -up], axis=1), np.concatenate([down, down])
    found_down, found_up = nearest_factors(
        nothing_down, nothing_up, rank=3, spare=down.astype(np.float32)
    )
    assert not found_up.any()
    assert np.array_equal(found_down, down[:3].astype(np.float32))


@given(seed=seeds, inner=st.integers(1, 20))
def test_the_norm_of_a_product_is_found_from_its_factors(seed: int, inner: int) -> None:
    down, up = factors(seed, inner=inner)
    assert product_norm(down, up) == pytest.approx(np.linalg.norm(up @ down), rel=1e-12)


def test_truncating_does_not_wait_for_torch() -> None:
    script = "import sys, model.low_rank, server.aggregation.lora; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0

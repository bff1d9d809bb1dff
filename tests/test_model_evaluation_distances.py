"""Kernel distances, neighbours, precision and coverage: against plain loops, and the laws they keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.evaluation import distances
from model.evaluation.distances import distance_blocks, nearest, row_blocks
from model.evaluation.features import FeaturesUnusable
from model.evaluation.kernel_distance import kernel_distance, kernel_distance_of_all
from model.evaluation.prdc import prdc

seeds = st.integers(0, 2**32 - 1)


def normal(seed: int, num: int, width: int = 4, *, at: float = 0.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(at, 1.0, (num, width))


def loop_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([[np.sqrt(np.square(x - y).sum()) for y in b] for x in a])


def test_blocks_give_the_distances_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "MAX_BLOCK_VALUES", 30)
    one, two = normal(1, 11) + 1000, normal(2, 13) + 1000
    blocks = list(distance_blocks(one, two))
    assert len(blocks) == 6
    found = np.concatenate([block for _, block in blocks])
    np.testing.assert_allclose(found, loop_distance(one, two), atol=1e-9)


def test_the_nearest_of_another_patient_is_found() -> None:
    pictures = np.array([[0.0], [0.1], [5.0], [7.0]])
    patients = np.array([1, 1, 2, 3])
    far, place = nearest(pictures, pictures, from_patients=patients, to_patients=patients)
    np.testing.assert_allclose(far, [5.0, 4.9, 2.0, 2.0], atol=1e-9)
    assert place.tolist() == [2, 2, 3, 2]


def test_the_polynomial_distance_is_that_of_a_plain_loop() -> None:
    # Binkowski et al. 2018, equation 4: means over pairs of different records, and over all mixed pairs
    one, two = normal(1, 6), normal(2, 5, at=0.5)

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j])
        for s in (one, two)
    ]
    between = np.mean([kernel(x, y) for x in one for y in two])
    assert kernel_distance_of_all(one, two) == pytest.approx(sum(within) - 2 * between)


def test_the_polynomial_distance_of_one_distribution_is_nothing_on_average() -> None:
    values = [kernel_distance_of_all(normal(2 * s, 50), normal(2 * s + 1, 50)) for s in range(80)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert min(values) < 0


def test_subsets_give_a_mean_and_a_spread() -> None:
    one, two = normal(1, 300), normal(2, 300, at=0.5)
    found = kernel_distance(
        one, two, generator=np.random.default_rng(3), subset_size=50, num_subsets=40
    )
    assert (found.subset_size, found.num_subsets) == (50, 40)
    assert found.value == pytest.approx(kernel_distance_of_all(one, two), abs=found.spread)
    assert found.spread > 0


@given(seed=seeds)
def test_the_polynomial_distance_is_symmetric(seed: int) -> None:
    one, two = normal(seed, 12), normal(seed + 1, 9, at=0.5)
    assert kernel_distance_of_all(one, two) == pytest.approx(kernel_distance_of_all(two, one))


def test_the_four_shares_are_those_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "MAX_BLOCK_VALUES", 50)
    k, real, fake = 3, normal(1, 25), normal(2, 18, at=0.7)
    mixed = loop_distance(real, fake)
    real_radius = np.sort(loop_distance(real, real), axis=1)[:, k]
    fake_radius = np.sort(loop_distance(fake, fake), axis=1)[:, k]
    inside = mixed < real_radius[:, None]
    found = prdc(real, fake, k=k)
    assert found.precision == pytest.approx(inside.any(axis=0).mean())
    assert found.recall == pytest.approx((mixed < fake_radius).any(axis=1).mean())
    assert found.density == pytest.approx(inside.sum() / k / 18)
    assert found.coverage == pytest.approx(inside.any(axis=1).mean())
    assert 0 < found.precision < 1


@given(seed=seeds)
def test_equal_sets_score_one_in_everything(seed: int) -> None:
    real = normal(seed, 20)
    found = prdc(real, real)
    assert (found.precision, found.recall, found.density, found.coverage) == (1, 1, 1, 1)


@given(seed=seeds, at=st.floats(0, 5))
def test_precision_and_recall_change_places_with_the_sets(seed: int, at: float) -> None:
    real, fake = normal(seed, 20), normal(seed + 1, 15, at=at)
    one, other = prdc(real, fake), prdc(fake, real)
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert all(0 <= share <= 1 for share in (one.precision, one.recall, one.coverage))


def test_one_picture_drawn_again_and_again_is_precise_and_covers_little() -> None:
    real = normal(1, 200)
    fake = real[:1] + 0.001 * normal(2, 200)
    found = prdc(real, fake)
    assert found.precision == 1
    assert found.recall < 0.05
    assert found.coverage < 0.1


def test_ten_thousand_records_are_compared_in_blocks_of_bounded_size() -> None:
    blocks = list(row_blocks(10_000, 10_000))
    assert max(block.stop - block.start for block in blocks) * 10_000 * 8 <= 32_000_000
    assert [block.stop for block in blocks[:-1]] == [block.start for block in blocks[1:]]
    assert (blocks[0].start, blocks[-1].stop) == (0, 10_000)


def test_fewer_records_than_neighbours_are_refused() -> None:
    with pytest.raises(FeaturesUnusable, match="are of 5 records: use at least 6"):
        prdc(normal(1, 9), normal(2, 5))

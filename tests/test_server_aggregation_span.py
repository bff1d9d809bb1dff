"""The rules that weigh whole changes, on points in a plane and against the papers' own iterations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.tensors import InMemory
from server.aggregation.distances import Spread, spread
from server.aggregation.span import centred_clipping, geometric_median, multi_krum

Points = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def measured(points: Points) -> Spread:
    return spread([InMemory({"w": point}) for point in points.astype(np.float32)])


def equal(points: Points) -> Points:
    return np.full(len(points), 1 / len(points))


def drawn(seed: int, num_sites: int = 7) -> tuple[Points, Points]:
    """Changes around a common one, and unequal shares."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=12) + 0.4 * rng.normal(size=(num_sites, 12))
    shares = rng.uniform(0.5, 1.5, size=num_sites)
    return points.astype(np.float32).astype(np.float64), shares / shares.sum()


def paper_clipping(points: Points, shares: Points, radius: float) -> Points:
    """Centred clipping as Karimireddy et al. 2021 write it, from zero until it moves no more."""
    centre = np.zeros(points.shape[1])
    moved = np.inf
    while moved > 1e-10:
        away = np.linalg.norm(points - centre, axis=1)
        factors = shares * np.minimum(1.0, radius / np.maximum(away, 1e-300))
        movement = factors @ (points - centre)
        centre, moved = centre + movement, float(np.linalg.norm(movement))
    return centre


def test_krum_keeps_the_changes_with_the_nearest_neighbours() -> None:
    points = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1], [50, 0]])
    assert multi_krum(measured(points), equal(points), 1).tolist() == [0.25, 0.25, 0.25, 0.25, 0.0]


def test_krum_scores_the_nearest_n_minus_f_minus_2_others() -> None:
    # n = 5, f = 1: the two nearest of each count, as 1 + 36, 1 + 25, 9 + 25, 4 + 9, 4 + 25. The 37 goes; with one
    # neighbour it would be the 9 of the third, with three the 4 + 25 + 100 of the last.
    points = np.array([[0.0], [1], [6], [9], [11]])
    assert multi_krum(measured(points), equal(points), 1).tolist() == [0.0, 0.25, 0.25, 0.25, 0.25]


def test_krum_lets_shares_weigh_what_is_kept_but_not_choose_it() -> None:
    points = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1], [50, 0]])
    shares = np.array([0.04, 0.02, 0.02, 0.02, 0.9])
    found = multi_krum(measured(points), shares, 1)
    np.testing.assert_allclose(found, [0.4, 0.2, 0.2, 0.2, 0.0])


def test_the_geometric_median_of_three_corners_sees_every_side_at_120_degrees() -> None:
    # the point of Fermat and Torricelli
    points = np.array([[0.0, 0], [4, 0], [1, 3]])
    centre = geometric_median(measured(points), equal(points)) @ points
    ways = (points - centre) / np.linalg.norm(points - centre, axis=1)[:, None]
    np.testing.assert_allclose(ways @ ways.T, np.full((3, 3), -0.5) + 1.5 * np.eye(3), atol=1e-5)


def test_the_geometric_median_of_a_line_is_its_middle_point() -> None:
    points = np.array([[1.0], [2], [30]])
    assert geometric_median(measured(points), equal(points)) @ points == pytest.approx(2, abs=1e-4)


def test_a_site_with_more_than_half_of_the_shares_is_the_geometric_median() -> None:
    points = np.array([[1.0, 5], [2, 2], [30, -4]])
    found = geometric_median(measured(points), np.array([0.6, 0.2, 0.2]))
    np.testing.assert_allclose(found, [1.0, 0.0, 0.0], atol=1e-5)


@given(seeds)
def test_no_step_away_from_the_geometric_median_lowers_the_sum_of_distances(seed: int) -> None:
    points, shares = drawn(seed)
    centre = geometric_median(measured(points), shares) @ points

    def total(point: Points) -> float:
        return float(shares @ np.linalg.norm(points - point, axis=1))

    rng = np.random.default_rng(seed)
    steps = 10.0 ** rng.uniform(-3, 0, size=(50, 1)) * rng.normal(size=(50, points.shape[1]))
    assert total(centre) <= min(total(centre + step) for step in steps)


@given(seeds, st.sampled_from([0.1, 0.3, 1.0, 3.0]))
def test_centred_clipping_is_where_the_papers_iteration_comes_to_rest(
    seed: int, clip_ratio: float
) -> None:
    points, shares = drawn(seed)
    points[0] *= -5
    radius = clip_ratio * float(np.median(np.linalg.norm(points, axis=1)))
    found = centred_clipping(measured(points), shares, clip_ratio) @ points
    np.testing.assert_allclose(found, paper_clipping(points, shares, radius), atol=1e-6)


def test_a_radius_that_clips_nobody_gives_the_mean() -> None:
    points, shares = drawn(3)
    np.testing.assert_allclose(centred_clipping(measured(points), shares, 10.0), shares, rtol=1e-6)


@pytest.mark.parametrize("distance", [1e3, 1e6, 1e12, 1e30])
def test_a_clipped_site_pulls_no_harder_from_farther_away(distance: float) -> None:
    points, shares = drawn(8)
    honest = points[1:].T @ shares[1:] / shares[1:].sum()
    points[0] = distance
    radius = float(np.median(np.linalg.norm(points, axis=1)))
    found = centred_clipping(measured(points), shares, 1.0) @ points.astype(np.float32)
    bound = radius * shares[0] / (1 - shares[0])
    assert np.linalg.norm(found - honest) == pytest.approx(bound, rel=1e-3)


def test_zero_changes_in_the_majority_stay_the_result() -> None:
    points = np.array([[0.0, 0], [0, 0], [0, 0], [1, 0], [0, 7]])
    for weights in (
        geometric_median(measured(points), equal(points)),
        centred_clipping(measured(points), equal(points), 1.0),
    ):
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(weights @ points, [0, 0], atol=1e-6)

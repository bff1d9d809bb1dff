"""The arithmetic of a round: means, products of adapters, and what must not depend on order or basis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.arrays import Arrays, digest_arrays
from server.aggregation import add, l2_norm, mean_change, mean_product, site_shares

ROWS, COLUMNS, RANK = 12, 10, 3
A, B = "q.lora_A.weight", "q.lora_B.weight"
Wide = NDArray[np.float64]


def adapters(num_sites: int, *, seed: int = 0) -> dict[str, Arrays]:
    """One adapter per site, all different."""
    rng = np.random.default_rng(seed)
    return {
        f"site-{number}": {
            A: rng.normal(size=(RANK, COLUMNS)).astype(np.float32),
            B: rng.normal(size=(ROWS, RANK)).astype(np.float32),
        }
        for number in range(num_sites)
    }


def product(adapter: Arrays) -> Wide:
    return adapter[B].astype(np.float64) @ adapter[A].astype(np.float64)


def start() -> Arrays:
    return adapters(1, seed=99)["site-0"]


def mean_of(sites: dict[str, Arrays], shares: dict[str, float]) -> Arrays:
    """What the coordinator makes of sites that ended with these adapters."""
    before = start()
    changes = {
        site: {name: adapter[name] - before[name] for name in adapter}
        for site, adapter in sites.items()
    }
    return mean_product(before, shares, changes.__getitem__)


def uniform(sites: dict[str, Arrays]) -> dict[str, float]:
    return site_shares(dict.fromkeys(sites, 1), weighting="uniform")


def tail(matrix: Wide) -> float:
    """Distance to the nearest matrix of the adapter's rank (Eckart and Young 1936)."""
    singular = np.linalg.svd(matrix, compute_uv=False)
    return float(np.sqrt(np.square(singular[RANK:]).sum()))


def test_shares_are_equal_or_follow_the_records_and_sum_to_one() -> None:
    records = {"b": 30, "a": 10}
    assert site_shares(records, weighting="uniform") == {"a": 0.5, "b": 0.5}
    assert site_shares(records, weighting="records") == {"a": 0.25, "b": 0.75}


@given(order=st.permutations(range(5)), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_arrival_does_not_move_a_bit_of_the_mean(order: list[int], seed: int) -> None:
    sites = adapters(5, seed=seed)
    records = {site: 3 + number for number, site in enumerate(sites)}
    shares = site_shares(records, weighting="records")
    arrived = {f"site-{number}": shares[f"site-{number}"] for number in order}
    one, two = (mean_change(each, sites.__getitem__) for each in (shares, arrived))
    assert digest_arrays(one) == digest_arrays(two)


@given(order=st.permutations(range(4)), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_arrival_does_not_move_a_bit_of_the_mean_product(
    order: list[int], seed: int
) -> None:
    sites = adapters(4, seed=seed)
    arrived = {f"site-{number}": 0.25 for number in order}
    one, two = (mean_of(sites, shares) for shares in (uniform(sites), arrived))
    assert digest_arrays(one) == digest_arrays(two)


@given(st.permutations(range(5)))
def test_the_order_of_arrival_does_not_move_a_bit_of_the_shares(order: list[int]) -> None:
    records = {f"site-{number}": 3 + number for number in order}
    shares = site_shares(records, weighting="records")
    assert list(shares) == sorted(records)


@given(st.floats(1e-3, 1e3))
def test_only_the_proportions_of_the_weights_count(scale: float) -> None:
    sites = adapters(2)
    one = mean_change({"site-0": 0.25, "site-1": 0.75}, sites.__getitem__)
    records = {"site-0": round(1000 * scale), "site-1": 3 * round(1000 * scale)}
    two = mean_change(site_shares(records, weighting="records"), sites.__getitem__)
    np.testing.assert_allclose(one[A], two[A], rtol=1e-15)


def test_the_mean_is_taken_in_float64() -> None:
    changes: dict[str, Arrays] = {
        "a": {"w": np.array([1e8], np.float32)},
        "b": {"w": np.array([1.0], np.float32)},
        "c": {"w": np.array([-1e8], np.float32)},
    }
    mean = mean_change(dict.fromkeys(changes, 0.25), changes.__getitem__)
    assert mean["w"] == 0.25


def test_a_sum_is_rounded_once() -> None:
    weights: Arrays = {"w": np.array([1.0], np.float32), "still": np.array([2.0], np.float32)}
    moved = add(weights, {"w": np.array([2.0**-24 + 2.0**-40])})
    assert moved["w"] == np.float32(1.0 + 2.0**-23)
    assert moved["still"] is weights["still"]


def test_the_norm_is_that_of_all_tensors_together() -> None:
    assert l2_norm([np.array([3.0], np.float32), np.array([[4.0]], np.float32)]) == 5.0
    assert l2_norm([np.array([1e30], np.float32)]) == pytest.approx(1e30, rel=1e-6)


def test_identical_sites_give_their_own_product() -> None:
    adapter = adapters(1)["site-0"]
    sites = {f"site-{number}": adapter for number in range(3)}
    np.testing.assert_allclose(
        product(mean_of(sites, uniform(sites))), product(adapter), rtol=1e-5, atol=1e-5
    )


def test_a_single_sites_factors_pass_unchanged() -> None:
    before, change = start(), adapters(1)["site-0"]
    found = mean_product(before, {"site-0": 1.0}, lambda site: change)
    assert digest_arrays(found) == digest_arrays(
        {name: before[name] + change[name] for name in before}
    )


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_the_new_product_is_the_nearest_of_its_rank_to_the_mean_product(
    num_sites: int, seed: int
) -> None:
    sites = adapters(num_sites, seed=seed)
    records = {site: 1 + number for number, site in enumerate(sites)}
    shares = site_shares(records, weighting="records")
    wanted = sum(shares[site] * product(sites[site]) for site in sites)
    error = float(np.linalg.norm(wanted - product(mean_of(sites, shares))))
    assert error == pytest.approx(tail(np.asarray(wanted)), rel=1e-4, abs=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_the_basis_in_which_a_site_writes_its_factors_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sites = adapters(3, seed=seed)
    turned: dict[str, Arrays] = {}
    for site, adapter in sites.items():
        rotation, _ = np.linalg.qr(rng.normal(size=(RANK, RANK)))
        turned[site] = {
            A: (rotation @ adapter[A]).astype(np.float32),
            B: (adapter[B] @ rotation.T).astype(np.float32),
        }
    one, two = mean_of(sites, uniform(sites)), mean_of(turned, uniform(turned))
    np.testing.assert_allclose(product(one), product(two), atol=1e-4)


def test_both_factors_come_out_at_the_same_scale() -> None:
    sites = adapters(3)
    found = mean_of(sites, uniform(sites))
    np.testing.assert_allclose(
        np.linalg.norm(found[A], axis=1), np.linalg.norm(found[B], axis=0), rtol=1e-5
    )


def test_factors_keep_their_shape_when_the_sites_ranks_add_up_to_more_than_the_layer() -> None:
    sites = adapters(9)
    found = mean_of(sites, uniform(sites))
    assert (found[A].shape, found[B].shape) == ((RANK, COLUMNS), (ROWS, RANK))
    assert found[A].dtype == found[B].dtype == np.float32


def test_a_layer_whose_product_is_zero_can_still_learn() -> None:
    before: Arrays = {A: start()[A], B: np.zeros((ROWS, RANK), np.float32)}
    still: Arrays = {name: np.zeros_like(tensor) for name, tensor in before.items()}
    found = mean_product(before, {"a": 0.5, "b": 0.5}, lambda site: still)
    assert digest_arrays(found) == digest_arrays(before)


def test_a_hospital_cannot_claim_the_model_by_claiming_records() -> None:
    shares = site_shares({"a": 300, "b": 400, "c": 10**15}, weighting="records")
    assert shares["c"] == pytest.approx(4000 / 4700)

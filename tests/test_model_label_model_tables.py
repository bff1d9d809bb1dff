"""What is made of counts that were rounded, withheld or noised before anything is fitted to them."""

import numpy as np

from model.label_model.tables import SiteTables, association, filled, shares

NAN = np.nan


def test_a_rounded_count_is_taken_to_be_in_the_middle_of_its_step() -> None:
    found = filled(np.array([200.0, 90.0]), total=300.0, min_cell=10, is_noised=False)
    np.testing.assert_allclose(found, [204.5, 94.5])


def test_a_count_with_noise_is_taken_as_it_is() -> None:
    found = filled(np.array([203.0, 91.0]), total=300.0, min_cell=10, is_noised=True)
    np.testing.assert_allclose(found, [203.0, 91.0])


def test_withheld_counts_share_what_is_left_and_stay_below_the_limit() -> None:
    many_left = filled(np.array([200.0, NAN, NAN]), total=300.0, min_cell=10, is_noised=False)
    np.testing.assert_allclose(many_left, [204.5, 4.5, 4.5])
    few_left = filled(np.array([200.0, NAN, NAN]), total=206.5, min_cell=10, is_noised=False)
    np.testing.assert_allclose(few_left, [204.5, 1.0, 1.0])
    none_left = filled(np.array([200.0, NAN, NAN]), total=200.0, min_cell=10, is_noised=False)
    np.testing.assert_allclose(none_left, [204.5, 0.0, 0.0])


def test_exact_counts_stay_exact() -> None:
    found = filled(np.array([7.0, NAN]), total=9.0, min_cell=1, is_noised=False)
    np.testing.assert_array_equal(found, [7.0, 0.0])


def tables(pair: list[list[float]], *, min_cell: int = 1, noise: float = 0.0) -> SiteTables:
    return SiteTables(
        num_patients=100.0,
        counts={"age": np.array([40.0, 60.0]), "edema": np.array([70.0, 30.0])},
        pairs={("age", "edema"): np.array(pair)},
        min_cell=min_cell,
        noise_variance=noise,
    )


def test_no_value_is_impossible() -> None:
    found = shares(SiteTables(num_patients=9.0, counts={"x": np.array([9.0, 0.0])}, pairs={}), "x")
    np.testing.assert_allclose(found, [9.25 / 9.5, 0.25 / 9.5])


def test_an_association_is_what_differs_from_independence() -> None:
    found = association(tables([[34.0, 6.0], [36.0, 24.0]]), ("age", "edema"))
    np.testing.assert_allclose(found.deviation, [[6.0, -6.0], [-6.0, 6.0]])
    np.testing.assert_allclose(found.variance, np.full((2, 2), 100 * 0.4 * 0.6 * 0.7 * 0.3))
    assert (found.num_patients, found.disturbance) == (100.0, 0.0)


def test_a_withheld_cell_makes_no_association_of_its_own() -> None:
    given = [[20.0, NAN], [40.0, 20.0]]
    found = association(tables(given, min_cell=10), ("age", "edema"))
    beside = association(tables([[24.5, 9.0], [44.5, 24.5]]), ("age", "edema"))  # 12 were expected
    np.testing.assert_allclose(found.deviation, beside.deviation)


def test_noise_and_rounding_widen_what_chance_explains() -> None:
    pair = [[34.0, 6.0], [36.0, 24.0]]
    plain = association(tables(pair), ("age", "edema")).variance
    noised = association(tables(pair, noise=50.0), ("age", "edema"))
    by_hand = 50.0 * (0.4**2 + 0.6**2) * (0.7**2 + 0.3**2)
    np.testing.assert_allclose(noised.variance - plain, np.full((2, 2), by_hand))
    assert noised.disturbance == 50.0
    rounded = association(tables(pair, min_cell=10), ("age", "edema")).disturbance
    assert rounded == 99 / 12


def test_noise_makes_deviations_as_wide_as_is_said() -> None:
    rng, table = np.random.default_rng(0), np.outer([300.0, 500.0, 200.0], [0.8, 0.2]) * 10
    found = []
    for _ in range(4000):
        noised = table + rng.normal(scale=30.0, size=table.shape)
        counts = {"age": noised.sum(axis=1), "edema": noised.sum(axis=0)}
        pairs = {("age", "edema"): noised}
        site = SiteTables(num_patients=1e4, counts=counts, pairs=pairs, noise_variance=900.0)
        found.append(association(site, ("age", "edema")))
    seen = np.var([each.deviation for each in found], axis=0)
    chance = 1e4 * np.outer(np.array([0.3, 0.5, 0.2]) * [0.7, 0.5, 0.8], [0.16, 0.16])
    said = np.mean([each.variance for each in found], axis=0) - chance
    np.testing.assert_allclose(seen, said, rtol=0.15)

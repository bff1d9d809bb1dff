"""What every rule of combination keeps to, what it does against attacks, and what it refuses."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from federation.stages import Combination
from model.arrays import Arrays, digest_arrays
from model.tensors import BLOCK_VALUES, InMemory, Piece, Shapes, pieces_of
from server.aggregation.combine import (
    Combined,
    TooFewForRule,
    check_feasible,
    combined,
    needs_all_shards,
)

Wide = NDArray[np.float64]
SHAPES: Shapes = {"layer.weight": (6, 7), "layer.bias": (6,), "one": ()}
RULES = {
    "mean": Combination(),
    "trimmed-mean": Combination(rule="trimmed-mean", num_faulty=2),
    "median": Combination(rule="median"),
    "multi-krum": Combination(rule="multi-krum", num_faulty=2),
    "rfa": Combination(rule="rfa"),
    "centred-clipping": Combination(rule="centred-clipping", clip_ratio=0.5),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
IGNORING_SHARES = frozenset({"trimmed-mean", "median"})


def changes_of(num_sites: int, *, seed: int = 0) -> dict[str, Arrays]:
    """Changes that share a direction, one per site."""
    rng = np.random.default_rng(seed)
    common = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    return {
        f"site-{number}": {
            name: np.asarray(value + 0.5 * rng.normal(size=value.shape), np.float32)
            for name, value in common.items()
        }
        for number in range(num_sites)
    }


def shares_of(changes: Mapping[str, Arrays], *, seed: int = 0) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    return {site: float(rng.uniform(1, 3)) for site in changes}


def combine(
    rule: Combination, changes: Mapping[str, Arrays], shares: Mapping[str, float] | None = None
) -> Combined:
    held = {site: InMemory(change) for site, change in changes.items()}
    return combined(rule, held, shares or dict.fromkeys(changes, 1.0))


def whole(found: Combined, *, max_values: int = BLOCK_VALUES) -> Wide:
    """Every value of the combined change, in order of name."""
    return np.concatenate([found(piece) for piece in pieces_of(SHAPES, max_values=max_values)])


def flat(change: Arrays) -> Wide:
    return np.concatenate([np.ravel(change[name]) for name in sorted(change)]).astype(np.float64)


def brute_force(rule: Combination, points: Wide, shares: Wide) -> Wide:
    """The rule on whole arrays, (site, value), each as its paper has it."""
    num_sites, faulty = len(points), rule.num_faulty
    if rule.rule == "median":
        return np.asarray(np.median(points, axis=0))
    if rule.rule == "trimmed-mean":
        return np.asarray(np.sort(points, axis=0)[faulty : num_sites - faulty].mean(axis=0))
    if rule.rule == "multi-krum":
        near = np.sort(np.linalg.norm(points[:, None] - points, axis=2) ** 2, axis=1)
        kept = np.argsort(near[:, 1 : num_sites - faulty - 1].sum(axis=1))[: num_sites - faulty]
        return np.average(points[kept], axis=0, weights=shares[kept])
    centre = np.average(points, axis=0, weights=shares)
    typical = float(np.median(np.linalg.norm(points, axis=1)))
    for _ in range({"mean": 0, "rfa": 500, "centred-clipping": 500}[rule.rule]):
        away = np.linalg.norm(points - centre, axis=1)
        if rule.rule == "rfa":
            centre = np.average(points, axis=0, weights=shares / away)
        else:
            clipped = (points - centre) * np.minimum(1, rule.clip_ratio * typical / away)[:, None]
            centre = centre + np.average(clipped, axis=0, weights=shares)
    return centre


@every_rule
@given(num_sites=st.integers(7, 12), seed=st.integers(0, 2**32 - 1))
def test_every_rule_gives_what_its_paper_gives_on_whole_arrays(
    rule: Combination, num_sites: int, seed: int
) -> None:
    changes = changes_of(num_sites, seed=seed)
    shares = shares_of(changes, seed=seed)
    points = np.stack([flat(changes[site]) for site in sorted(changes)])
    wanted = brute_force(rule, points, np.array([shares[site] for site in sorted(changes)]))
    np.testing.assert_allclose(whole(combine(rule, changes, shares)), wanted, atol=1e-6)


@every_rule
@pytest.mark.parametrize("max_values", [1, 5, 7, 20, 42])
def test_the_cut_into_pieces_does_not_move_a_bit(rule: Combination, max_values: int) -> None:
    changes = changes_of(9)
    found = combine(rule, changes, shares_of(changes))
    assert whole(found, max_values=max_values).tobytes() == whole(found).tobytes()


@every_rule
def test_the_cut_into_pieces_does_not_move_a_bit_of_a_tensor_longer_than_a_block(
    rule: Combination,
) -> None:
    width = BLOCK_VALUES + 4097
    rng = np.random.default_rng(4)
    changes: dict[str, Arrays] = {
        f"site-{n}": {"w": rng.normal(size=width).astype(np.float32)} for n in range(7)
    }
    found = combine(rule, changes)
    at_once = found(Piece(name="w", start=0, stop=width))
    for size in (1000, 50_001):
        pieces = pieces_of({"w": (width,)}, max_values=size)
        assert np.concatenate([found(piece) for piece in pieces]).tobytes() == at_once.tobytes()


@every_rule
@given(order=st.permutations(range(8)), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_arrival_does_not_move_a_bit(
    rule: Combination, order: list[int], seed: int
) -> None:
    changes = changes_of(8, seed=seed)
    shares = shares_of(changes, seed=seed)
    arrived = {f"site-{number}": changes[f"site-{number}"] for number in order}
    shuffled = {site: shares[site] for site in reversed(arrived)}
    one, two = combine(rule, changes, shares), combine(rule, arrived, shuffled)
    assert whole(one).tobytes() == whole(two).tobytes()


@pytest.mark.parametrize(
    ("name", "num_sites"),
    [(name, num_sites) for name in RULES for num_sites in (1, 7, 10)],
)
def test_sites_that_all_say_the_same_are_passed_on_unchanged(name: str, num_sites: int) -> None:
    rule = RULES[name]
    num_sites = max(num_sites, rule.min_sites)
    (change,) = changes_of(1).values()
    changes = {f"site-{number}": change for number in range(num_sites)}
    found = whole(combine(rule, changes, shares_of(changes)))
    assert found.astype(np.float32).tobytes() == flat(change).astype(np.float32).tobytes()


@every_rule
@given(scale=st.floats(1e-6, 1e6))
def test_only_the_proportions_of_the_shares_count(rule: Combination, scale: float) -> None:
    changes = changes_of(8)
    shares = shares_of(changes)
    scaled = {site: scale * share for site, share in shares.items()}
    one, two = whole(combine(rule, changes, shares)), whole(combine(rule, changes, scaled))
    np.testing.assert_allclose(one, two, rtol=1e-9)


@every_rule
def test_shares_count_except_where_values_are_sorted(rule: Combination) -> None:
    changes = changes_of(8)
    equal, heavy = dict.fromkeys(changes, 1.0), dict.fromkeys(changes, 1.0) | {"site-3": 3.0}
    one, two = whole(combine(rule, changes, equal)), whole(combine(rule, changes, heavy))
    assert np.array_equal(one, two) == (rule.rule in IGNORING_SHARES)


@every_rule
@given(st.integers(-20, 20))
def test_changes_of_any_scale_are_combined_alike(rule: Combination, power: int) -> None:
    changes = changes_of(8)
    scaled = {
        site: {name: np.float32(2.0**power) * value for name, value in change.items()}
        for site, change in changes.items()
    }
    one, two = whole(combine(rule, changes)), whole(combine(rule, scaled))
    np.testing.assert_allclose(two, 2.0**power * one, rtol=1e-12)


@every_rule
def test_the_changes_themselves_stay_as_they_are(rule: Combination) -> None:
    changes = changes_of(7)
    before = {site: digest_arrays(change) for site, change in changes.items()}
    whole(combine(rule, changes))
    assert {site: digest_arrays(change) for site, change in changes.items()} == before


def attacked(attack: str) -> tuple[dict[str, Arrays], Wide]:
    """Changes of 10 hospitals of which 2 attack, and the mean of the honest 8."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=2000)
    honest = [common + 0.3 * rng.normal(size=2000) for _ in range(10)]
    sent = {
        "sign-flip": [-5 * change for change in honest[8:]],
        "a million": [np.full(2000, 1e6)] * 2,
        "beyond float64's digits": [10.0**16.5 * rng.normal(size=2000)] * 2,
        "as large as can be": [np.full(2000, 3e38)] * 2,
        "one against the other": [np.full(2000, 1e30), np.full(2000, -1e10)],
    }[attack]
    changes: dict[str, Arrays] = {
        f"site-{number}": {"w": change.astype(np.float32)}
        for number, change in enumerate(honest[:8] + sent)
    }
    return changes, np.mean(honest[:8], axis=0)


@pytest.mark.parametrize(
    "attack",
    [
        "sign-flip",
        "a million",
        "beyond float64's digits",
        "as large as can be",
        "one against the other",
    ],
)
def test_two_attackers_of_ten_carry_the_mean_away_and_no_other_rule(attack: str) -> None:
    changes, honest = attacked(attack)
    piece = Piece(name="w", start=0, stop=2000)
    errors = {
        name: float(np.linalg.norm(combine(rule, changes)(piece) - honest) / np.linalg.norm(honest))
        for name, rule in RULES.items()
    }
    bounds = {"trimmed-mean": 0.13, "median": 0.13, "multi-krum": 1e-6, "rfa": 0.08}
    # two of ten pull with the radius each: 0.2 / 0.8 times half the median norm
    bounds["centred-clipping"] = 0.25 * 0.5 * 1.1
    assert errors.pop("mean") > 1.2
    assert {name: error for name, error in errors.items() if error > bounds[name]} == {}


@pytest.mark.parametrize(
    ("name", "needed"), [("trimmed-mean", 5), ("multi-krum", 7), ("median", 1), ("rfa", 1)]
)
def test_a_rule_is_refused_to_fewer_hospitals_than_it_can_outvote(name: str, needed: int) -> None:
    rule = RULES[name]
    check_feasible(rule, needed)
    combine(rule, changes_of(needed))
    with pytest.raises(TooFewForRule, match=f"needs the changes of {needed} hospitals, and there"):
        check_feasible(rule, needed - 1)


def test_combining_too_few_is_refused_before_anything_is_read() -> None:
    with pytest.raises(TooFewForRule, match="type `fedcxr coordinator run` again"):
        combine(RULES["multi-krum"], changes_of(6))


@every_rule
def test_a_rule_says_whether_it_reads_everything_before_the_first_piece(rule: Combination) -> None:
    read: list[Piece] = []

    class Noticed(InMemory):
        def piece(self, piece: Piece) -> NDArray[np.float32]:
            read.append(piece)
            return super().piece(piece)

    held = {site: Noticed(change) for site, change in changes_of(7).items()}
    found = combined(rule, held, dict.fromkeys(held, 1.0))
    assert bool(read) == needs_all_shards(rule)
    read.clear()
    found(Piece(name="one", start=0, stop=1))
    assert {piece.name for piece in read} == {"one"}

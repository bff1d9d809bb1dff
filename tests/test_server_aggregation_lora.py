"""What every rule of adapters keeps to, on adapters of a real network."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from federation.stages import LocalTraining, LoraStage
from model.adapter import adapter_shapes
from model.arrays import Arrays, digest_arrays
from model.config import model_config
from model.low_rank import DOWN, UP, layers_of, truncate_adapter
from model.tensors import as_tensors, pieces_of
from server.aggregation.combine import combined
from server.aggregation.lora import joint_gap, next_factors

Rule = Literal["product-svd", "alternate", "ffa", "joint"]
Wide = NDArray[np.float64]
MODEL = model_config("tiny", 32)
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
TRAINS: dict[str, dict[Rule, tuple[str, ...]]] = {
    "odd": {"product-svd": (DOWN, UP), "alternate": (UP,), "ffa": (UP,), "joint": (DOWN, UP)},
    "even": {"product-svd": (DOWN, UP), "alternate": (DOWN,), "ffa": (UP,), "joint": (DOWN, UP)},
}
RULES: tuple[Rule, ...] = ("product-svd", "alternate", "ffa", "joint")
EXACT: tuple[Rule, ...] = ("alternate", "ffa")
ROUNDS = ("odd", "even")
every_rule = pytest.mark.parametrize("rule", RULES)
either_round = pytest.mark.parametrize("turn", ROUNDS)


def stage_of(rule: Rule, *, rank: int = 4, **site_ranks: int) -> LoraStage:
    return LoraStage(
        kind="lora",
        num_rounds=2,
        local=LOCAL,
        rank=rank,
        alpha=float(rank),
        rule=rule,
        site_ranks=site_ranks,
    )


def received(rank: int = 4) -> Arrays:
    """An adapter in the middle of a study; its singular values fall by a factor of 2."""
    rng = np.random.default_rng(99)
    stage = stage_of("joint", rank=rank)
    return {
        name: (
            rng.normal(size=shape)
            * 2.0 ** -np.arange(rank)[:, None if name.endswith(DOWN) else ...]
        ).astype(np.float32)
        for name, shape in adapter_shapes(MODEL, stage.adapter).items()
    }


def fresh_adapter() -> Arrays:
    return {
        name: np.zeros_like(array) if name.endswith(UP) else array
        for name, array in received().items()
    }


def changes_of(
    stage: LoraStage, sites: Mapping[str, int], *, turn: str = "odd", drift: float = 0.3
) -> dict[str, Arrays]:
    """Site name and seed -> a change of what trains in an odd or an even round."""
    whole = received(stage.rank)
    changes: dict[str, Arrays] = {}
    for site, seed in sites.items():
        rng = np.random.default_rng(seed)
        started = truncate_adapter(whole, stage.site_ranks.get(site, stage.rank))
        changes[site] = {
            name: (drift * rng.normal(size=array.shape)).astype(np.float32)
            for name, array in started.items()
            if name.endswith(TRAINS[turn][stage.rule])
        }
    return changes


def after(
    stage: LoraStage, changes: Mapping[str, Arrays], shares: Mapping[str, float]
) -> dict[str, NDArray[np.float32]]:
    """The next adapter under the stage's rule."""
    whole = received(stage.rank)
    if stage.rule == "product-svd":
        return dict(next_factors(stage, whole, changes, shares))
    opened = {site: as_tensors(change) for site, change in changes.items()}
    change = combined(stage.combine, opened, shares)
    moved = {
        piece.name: (change(piece) + whole[piece.name].ravel()).astype(np.float32)
        for piece in pieces_of(next(iter(opened.values())).shapes)
    }
    return {name: moved.get(name, array).reshape(array.shape) for name, array in whole.items()}


def ended(stage: LoraStage, changes: Mapping[str, Arrays]) -> dict[str, dict[str, Wide]]:
    """Each site's adapter after its training, in float64."""
    whole = received(stage.rank)
    result: dict[str, dict[str, Wide]] = {}
    for site, change in changes.items():
        started = truncate_adapter(whole, stage.site_ranks.get(site, stage.rank))
        result[site] = {
            name: array.astype(np.float64) + change.get(name, np.float32(0.0))
            for name, array in started.items()
        }
    return result


def product(adapter: Mapping[str, NDArray[np.floating]], layer: str) -> Wide:
    return adapter[layer + UP].astype(np.float64) @ adapter[layer + DOWN].astype(np.float64)


def mean_product(
    stage: LoraStage, changes: Mapping[str, Arrays], shares: Mapping[str, float], layer: str
) -> Wide:
    """Written out, for once."""
    adapters = ended(stage, changes)
    parts = [shares[site] * product(adapters[site], layer) for site in sorted(shares)]
    result: Wide = np.sum(parts, axis=0)
    return result


def distance(one: Wide, other: Wide) -> float:
    """As a share of the other's length."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def layers() -> list[str]:
    return layers_of(received())


@every_rule
@either_round
def test_a_single_site_gets_its_own_adapter_back(rule: Rule, turn: str) -> None:
    stage = stage_of(rule)
    changes = changes_of(stage, {"a": 1}, turn=turn)
    own = {name: array.astype("f4") for name, array in ended(stage, changes)["a"].items()}
    assert digest_arrays(after(stage, changes, {"a": 1.0})) == digest_arrays(own)


@every_rule
@either_round
def test_sites_that_agree_get_what_they_agree_on(rule: Rule, turn: str) -> None:
    stage = stage_of(rule)
    changes = changes_of(stage, {"a": 1, "b": 1, "c": 1}, turn=turn)
    found = after(stage, changes, {"a": 0.2, "b": 0.5, "c": 0.3})
    for layer in layers():
        own = product(ended(stage, changes)["a"], layer)
        assert distance(product(found, layer), own) < 1e-6


@every_rule
@settings(max_examples=5)
@given(order=st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_arrival_does_not_move_a_bit(rule: Rule, order: list[str]) -> None:
    stage = stage_of(rule) if rule != "product-svd" else stage_of(rule, b=2, d=1)
    changes = changes_of(stage, {"a": 1, "b": 2, "c": 3, "d": 4})
    shares = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}
    arrived = after(
        stage, {site: changes[site] for site in order}, {site: shares[site] for site in order}
    )
    assert digest_arrays(arrived) == digest_arrays(after(stage, changes, shares))


@pytest.mark.parametrize("rule", EXACT)
@either_round
def test_rules_of_one_factor_find_the_mean_product(rule: Rule, turn: str) -> None:
    stage, shares = stage_of(rule), {"a": 0.2, "b": 0.5, "c": 0.3}
    changes = changes_of(stage, {"a": 1, "b": 2, "c": 3}, turn=turn)
    found = after(stage, changes, shares)
    for layer in layers():
        assert distance(product(found, layer), mean_product(stage, changes, shares, layer)) < 1e-6
    assert joint_gap(received(), changes, shares) < 1e-15


@pytest.mark.parametrize("rule", EXACT)
@either_round
def test_a_factor_that_rests_keeps_its_bits(rule: Rule, turn: str) -> None:
    stage, before = stage_of(rule), received()
    changes = changes_of(stage, {"a": 1, "b": 2}, turn=turn)
    found = after(stage, changes, {"a": 0.5, "b": 0.5})
    for name, array in before.items():
        trains = name.endswith(TRAINS[turn][rule])
        assert np.array_equal(found[name], array) == (not trains)


@pytest.mark.parametrize("drift", [0.01, 0.3, 2.0])
def test_the_gap_of_joint_is_how_far_its_products_are_from_the_mean_products(drift: float) -> None:
    stage, shares = stage_of("joint"), {"a": 0.2, "b": 0.5, "c": 0.3}
    changes = changes_of(stage, {"a": 1, "b": 2, "c": 3}, drift=drift)
    adapters = ended(stage, changes)
    mean = {
        name: np.sum([shares[site] * adapters[site][name] for site in shares], axis=0)
        for name in received()
    }
    wanted = np.concatenate(
        [mean_product(stage, changes, shares, layer) for layer in layers()], None
    )
    found = np.concatenate([product(mean, layer) for layer in layers()], None)
    assert joint_gap(received(), changes, shares) == pytest.approx(
        distance(found, wanted), rel=1e-9
    )


def test_the_gap_of_joint_is_of_second_order_in_the_drift() -> None:
    stage, shares = stage_of("joint"), {"a": 0.5, "b": 0.5}
    gaps = [
        joint_gap(received(), changes_of(stage, {"a": 1, "b": 2}, drift=drift), shares)
        for drift in (0.001, 0.002)
    ]
    assert gaps[1] / gaps[0] == pytest.approx(4, rel=0.02)


def test_adapters_that_change_nothing_have_no_gap() -> None:
    fresh = fresh_adapter()
    still = {name: np.zeros_like(array) for name, array in fresh.items()}
    assert joint_gap(fresh, {"a": still, "b": still}, {"a": 0.5, "b": 0.5}) == 0.0


def test_product_svd_misses_the_mean_product_by_the_singular_values_it_drops() -> None:
    stage, shares = stage_of("product-svd"), {"a": 0.2, "b": 0.5, "c": 0.3}
    changes = changes_of(stage, {"a": 1, "b": 2, "c": 3})
    found = after(stage, changes, shares)
    for layer in layers():
        wanted = mean_product(stage, changes, shares, layer)
        dropped = np.linalg.norm(np.linalg.svd(wanted, compute_uv=False)[stage.rank :])
        missed = np.linalg.norm(product(found, layer) - wanted)
        assert missed == pytest.approx(dropped, rel=1e-5)
        assert dropped > 0.05 * np.linalg.norm(wanted)


def turned(stage: LoraStage, changes: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """The same products, every site's in another basis."""
    rng, whole = np.random.default_rng(7), received(stage.rank)
    result: dict[str, Arrays] = {}
    for site, adapter in ended(stage, changes).items():
        rotation, _ = np.linalg.qr(rng.normal(size=(stage.rank, stage.rank)))
        result[site] = {
            name: (
                (rotation @ array if name.endswith(DOWN) else array @ rotation.T) - whole[name]
            ).astype(np.float32)
            for name, array in adapter.items()
        }
    return result


@pytest.mark.parametrize(
    ("rule", "least", "most"), [("product-svd", 0.0, 1e-5), ("joint", 0.2, 9.0)]
)
def test_the_basis_of_a_sites_factors_matters_to_joint_alone(
    rule: Rule, least: float, most: float
) -> None:
    stage, shares = stage_of(rule), {"a": 0.2, "b": 0.5, "c": 0.3}
    changes = changes_of(stage, {"a": 1, "b": 2, "c": 3})
    one, other = (after(stage, each, shares) for each in (changes, turned(stage, changes)))
    for layer in layers():
        assert least <= distance(product(other, layer), product(one, layer)) <= most


def zero_padded(stage: LoraStage, changes: Mapping[str, Arrays]) -> dict[str, Wide]:
    """What HetLoRA (Cho et al. 2024, https://arxiv.org/abs/2401.06432) makes of unequal ranks: means of factors."""
    adapters = ended(stage, changes)
    return {
        name: np.mean(
            [
                np.pad(
                    adapter[name],
                    [
                        (0, most - has)
                        for most, has in zip(array.shape, adapter[name].shape, strict=True)
                    ],
                )
                for adapter in adapters.values()
            ],
            axis=0,
        )
        for name, array in received(stage.rank).items()
    }


def test_sites_of_unequal_ranks_reach_the_nearest_product_to_their_mean() -> None:
    stage, shares = stage_of("product-svd", rank=8, a=2, b=4), dict.fromkeys("abc", 1 / 3)
    changes = changes_of(stage, {"a": 1, "b": 2, "c": 3})
    assert {array.shape[0] for name, array in changes["a"].items() if name.endswith(DOWN)} == {2}
    found, padded = after(stage, changes, shares), zero_padded(stage, changes)
    for layer in layers():
        wanted = mean_product(stage, changes, shares, layer)
        u, singular, vt = np.linalg.svd(wanted)
        nearest = u[:, :8] * singular[:8] @ vt[:8]
        assert distance(product(found, layer), nearest) < 1e-6
        assert distance(product(padded, layer), nearest) > 0.05


def test_a_single_site_of_a_lower_rank_gets_its_product_back_and_room_to_learn() -> None:
    stage = stage_of("product-svd", a=2)
    changes = changes_of(stage, {"a": 1})
    found = after(stage, changes, {"a": 1.0})
    for layer in layers():
        own = product(ended(stage, changes)["a"], layer)
        assert distance(product(found, layer), own) < 1e-6
        assert not found[layer + UP][:, 2:].any()
        assert np.array_equal(found[layer + DOWN][2:], received()[layer + DOWN][2:])


@pytest.mark.parametrize("ranks", [{}, {"a": 1, "b": 2}])
def test_a_layer_whose_product_is_zero_can_still_learn(ranks: dict[str, int]) -> None:
    stage = stage_of("product-svd", **ranks)
    fresh = fresh_adapter()
    changes = {
        site: {
            name: np.zeros_like(array)
            for name, array in truncate_adapter(fresh, ranks.get(site, 4)).items()
        }
        for site in "ab"
    }
    found = next_factors(stage, fresh, changes, {"a": 0.5, "b": 0.5})
    assert digest_arrays(found) == digest_arrays(fresh)

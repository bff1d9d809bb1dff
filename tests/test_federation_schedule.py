"""What trains in which round, and which draws it uses."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.config import StudyConfig
from federation.schedule import (
    derive_seed,
    keeps_optimizer_state,
    site_adapter,
    trained_tensors,
)
from federation.stages import FullStage, LocalTraining, LoraStage

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
NAMES = frozenset({"blocks.0.qkv.lora_A.weight", "blocks.0.qkv.lora_B.weight"})
StudyOf = Callable[..., StudyConfig]


def full(num_rounds: int) -> FullStage:
    return FullStage(kind="full", num_rounds=num_rounds, local=LOCAL)


def lora(rule: str, *, rank: int = 1, alpha: float = 1.0, **site_ranks: int) -> LoraStage:
    return LoraStage(
        kind="lora",
        num_rounds=4,
        local=LOCAL,
        rank=rank,
        alpha=alpha,
        rule=rule,  # type: ignore[arg-type]
        site_ranks=site_ranks,
    )


def test_everything_trains_in_a_full_stage(study_of: StudyOf) -> None:
    assert trained_tensors(study_of(full(3)), 2, frozenset({"a", "b"})) == {"a", "b"}


@pytest.mark.parametrize("rule", ["product-svd", "joint"])
def test_rules_of_two_factors_train_both(study_of: StudyOf, rule: str) -> None:
    assert trained_tensors(study_of(full(1), lora(rule)), 2, NAMES) == NAMES


def test_a_frozen_a_never_trains(study_of: StudyOf) -> None:
    study = study_of(full(1), lora("ffa"))
    for number in range(2, 6):
        assert trained_tensors(study, number, NAMES) == {"blocks.0.qkv.lora_B.weight"}


@pytest.mark.parametrize("num_full_rounds", [2, 3])
def test_the_alternating_rule_begins_with_b_whenever_its_stage_begins(
    study_of: StudyOf, num_full_rounds: int
) -> None:
    study = study_of(full(num_full_rounds), lora("alternate"))
    first = num_full_rounds + 1
    trained = [trained_tensors(study, number, NAMES) for number in range(first, first + 4)]
    factors = ["B" if ".lora_B." in name else "A" for names in trained for name in names]
    assert factors == ["B", "A", "B", "A"]


def test_moments_outlive_a_round_only_where_they_keep_their_meaning() -> None:
    assert keeps_optimizer_state(full(1))
    assert all(keeps_optimizer_state(lora(rule)) for rule in ("alternate", "ffa", "joint"))
    assert not keeps_optimizer_state(lora("product-svd"))
    assert not keeps_optimizer_state(lora("product-svd", rank=2, a=1))


@given(rank=st.integers(1, 64), own=st.integers(1, 64), alpha=st.floats(0.01, 100.0))
def test_a_hospital_of_a_lower_rank_scales_its_product_like_all_others(
    rank: int, own: int, alpha: float
) -> None:
    stage = lora("product-svd", rank=max(rank, own), alpha=alpha, small=min(rank, own))
    whole, small = site_adapter(stage, "other"), site_adapter(stage, "small")
    assert (whole, small.rank) == (stage.adapter, min(rank, own))
    assert small.alpha / small.rank == pytest.approx(whole.alpha / whole.rank, rel=1e-15)
    assert small.targets == whole.targets


@given(seed=st.integers(0, 2**63 - 1), number=st.integers(1, 10_000))
def test_a_seed_fits_every_generator_and_differs_by_purpose(
    study_of: StudyOf, seed: int, number: int
) -> None:
    study = study_of(full(1), seed=seed)
    seeds = {
        derive_seed(study, *purpose)
        for purpose in [
            ("initial",),
            ("held-out",),
            ("a", number),
            ("a", number + 1),
            ("b", number),
        ]
    }
    assert len(seeds) == 5
    assert all(0 <= value < 2**63 for value in seeds)


def test_another_study_seed_gives_other_draws(study_of: StudyOf) -> None:
    one, two = study_of(full(1), seed=1), study_of(full(1), seed=2)
    assert derive_seed(one, "a", 1) != derive_seed(two, "a", 1)
    assert derive_seed(one, "a", 1) == derive_seed(study_of(full(1), seed=1), "a", 1)

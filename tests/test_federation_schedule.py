"""What trains in which round, and which draws it uses."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.config import FullStage, LocalTraining, LoraStage, StudyConfig
from federation.schedule import derive_seed, keeps_optimizer_state, trained_tensors

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
NAMES = frozenset({"blocks.0.qkv.lora_A.weight", "blocks.0.qkv.lora_B.weight"})
StudyOf = Callable[..., StudyConfig]


def full(num_rounds: int) -> FullStage:
    return FullStage(kind="full", num_rounds=num_rounds, local=LOCAL)


def lora(rule: str) -> LoraStage:
    return LoraStage(kind="lora", num_rounds=4, local=LOCAL, rank=1, alpha=1.0, rule=rule)  # type: ignore[arg-type]


def test_everything_trains_in_a_full_stage(study_of: StudyOf) -> None:
    assert trained_tensors(study_of(full(3)), 2, frozenset({"a", "b"})) == {"a", "b"}


def test_both_factors_train_under_product_svd(study_of: StudyOf) -> None:
    assert trained_tensors(study_of(full(1), lora("product-svd")), 2, NAMES) == NAMES


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
    assert keeps_optimizer_state(lora("alternate"))
    assert not keeps_optimizer_state(lora("product-svd"))


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

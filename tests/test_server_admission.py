"""The gate: what is refused, with which code, and in which words."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.encoding import Encoding
from federation.messages import RefusalCode, Update
from federation.parcel import Parcel, pack_inline
from model.arrays import Arrays
from model.tensors import InMemory
from server.admission import (
    Expectation,
    inspect,
    inspect_norms,
    inspect_true_norm,
    inspect_values,
)

EXPECTED = Expectation(
    study_digest="study",
    round_number=3,
    received_digest="weights",
    num_steps=2,
    shapes={"a": (2, 3), "b": (1,)},
    needs_counts=False,
    shard_values=4,
)
CHANGE = {"a": np.ones((2, 3), np.float32), "b": np.ones(1, np.float32)}


def parcel_of(change: Arrays, *, encoding: Encoding = "fp32", shard_values: int = 4) -> Parcel:
    """What describes a change."""
    return pack_inline(InMemory(change), encoding, shard_values=shard_values)[0]


GOOD = Update(
    study_digest="study",
    round_number=3,
    received_digest="weights",
    change=parcel_of(CHANGE),
    norm=math.sqrt(7),
    num_steps=2,
    loss=0.5,
    held_out_loss=math.nan,
    seconds=1.0,
    num_records=0,
    num_files=0,
)


def with_tensor(name: str, shape: tuple[int, ...]) -> Update:
    return replace(GOOD, change=parcel_of({**CHANGE, name: np.ones(shape, np.float32)}))


BAD: dict[str, tuple[Update, RefusalCode, str]] = {
    "a norm that is NaN": (
        replace(GOOD, norm=math.nan), RefusalCode.NOT_FINITE, "its change holds NaN or infinity",
    ),
    "an infinite norm": (
        replace(GOOD, norm=math.inf), RefusalCode.NOT_FINITE, "its change holds NaN or infinity",
    ),
    "a negative norm": (
        replace(GOOD, norm=-1.0), RefusalCode.NOT_FINITE, "its change holds NaN or infinity",
    ),
    "a missing tensor": (
        replace(GOOD, change=parcel_of({"a": CHANGE["a"]})), RefusalCode.TENSORS,
        "tensor b is missing",
    ),
    "an unknown tensor": (
        with_tensor("c", (1,)), RefusalCode.TENSORS, "tensor 'c' is not part of",
    ),
    "a wrong shape": (
        with_tensor("a", (3, 2)), RefusalCode.TENSORS, "tensor a is (3, 2), expected (2, 3)",
    ),
    "another encoding": (
        replace(GOOD, change=parcel_of(CHANGE, encoding="bf16")), RefusalCode.TENSORS,
        "its change comes as bf16 in shards of 4 values, expected fp32",
    ),
    "other shards": (
        replace(GOOD, change=parcel_of(CHANGE, shard_values=8)), RefusalCode.TENSORS,
        "in shards of 8 values, expected fp32 in shards of 4",
    ),
    "another round": (
        replace(GOOD, round_number=2), RefusalCode.STALE, "it answers round 2, this is round 3",
    ),
    "other weights": (
        replace(GOOD, received_digest="old"), RefusalCode.STALE, "it was trained from other weights",
    ),
    "another study": (
        replace(GOOD, study_digest="x"), RefusalCode.STUDY, "it belongs to another study",
    ),
    "too few steps": (
        replace(GOOD, num_steps=1), RefusalCode.STEPS, "it made 1 local steps, 2 were asked for",
    ),
    "a loss that is NaN": (
        replace(GOOD, loss=math.nan), RefusalCode.NOT_FINITE, "its training loss is not finite",
    ),
}  # fmt: skip


def test_an_update_as_it_should_be_is_admitted() -> None:
    assert inspect(GOOD, EXPECTED) is None


@pytest.mark.parametrize(("update", "code", "words"), BAD.values(), ids=BAD.keys())
def test_an_update_that_does_not_fit_is_refused_with_code_and_reason(
    update: Update, code: RefusalCode, words: str
) -> None:
    refusal = inspect(update, EXPECTED)
    assert refusal is not None
    assert refusal.code == code
    assert words in refusal.reason


def test_a_tensors_foreign_name_is_quoted_short_and_harmless() -> None:
    refusal = inspect(with_tensor("\x1b[2J" + "x" * 500, (1,)), EXPECTED)
    assert refusal is not None
    assert refusal.reason.isprintable()
    assert len(refusal.reason) < 150


def test_records_must_be_told_where_they_decide_the_weight() -> None:
    expected = replace(EXPECTED, needs_counts=True)
    refusal = inspect(GOOD, expected)
    assert refusal is not None
    assert refusal.code == RefusalCode.COUNTS
    assert inspect(replace(GOOD, num_records=1), expected) is None


def test_a_change_far_above_the_cohorts_median_is_refused() -> None:
    refusals = inspect_norms({"a": 1.0, "b": 1.2, "c": 1e30}, earlier=[], max_ratio=4.0)
    assert refusals.keys() == {"c"}
    assert refusals["c"].code == RefusalCode.NORM
    assert "norm 1e+30, more than 4 times the median" in refusals["c"].reason


@pytest.mark.parametrize("norms", [{}, {"a": 1e30}, {"a": 1.0, "b": 1e30}])
def test_two_sites_have_no_majority(norms: dict[str, float]) -> None:
    assert inspect_norms(norms, earlier=[1.0, 1.0], max_ratio=4.0) == {}


def test_earlier_changes_stand_in_where_a_round_has_no_majority() -> None:
    refusals = inspect_norms({"a": 1.0, "b": 1e30}, earlier=[1.1, 0.9, 1.3], max_ratio=4.0)
    assert refusals.keys() == {"b"}


@given(st.dictionaries(st.text(), st.floats(0.0, 1e30), min_size=3), st.floats(1.01, 100.0))
def test_more_than_half_of_a_cohort_always_passes(norms: dict[str, float], ratio: float) -> None:
    assert len(inspect_norms(norms, earlier=[], max_ratio=ratio)) <= len(norms) / 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_with_the_name_of_their_tensor(
    value: float,
) -> None:
    values = np.ones(6, np.float32)
    assert inspect_values("a", values) is None
    values[4] = value
    refusal = inspect_values("a", values)
    assert refusal is not None
    assert (refusal.code, refusal.reason) == (
        RefusalCode.NOT_FINITE,
        "tensor a holds NaN or infinity",
    )


def test_a_change_has_to_have_the_norm_that_it_was_admitted_for() -> None:
    assert inspect_true_norm(2.0, 4.0, is_all=True) is None
    assert inspect_true_norm(2.0 * (1 + 1e-7), 4.0, is_all=True) is None
    for claimed in (1.0, 3.0):
        refusal = inspect_true_norm(claimed, 4.0, is_all=True)
        assert refusal is not None
        assert refusal.code is RefusalCode.NORM
        assert refusal.reason == f"its change has norm 2, and it says {claimed:g}"


def test_some_of_a_change_may_have_a_smaller_norm_than_all_of_it_and_no_larger_one() -> None:
    assert inspect_true_norm(3.0, 4.0, is_all=False) is None
    assert inspect_true_norm(2.0, 4.0, is_all=False) is None
    refusal = inspect_true_norm(1.0, 4.0, is_all=False)
    assert refusal is not None
    assert refusal.reason == "its change has norm 2 or more, and it says 1"

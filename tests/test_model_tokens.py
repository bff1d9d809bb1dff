"""Rows become embedding rows, ages are interpolated, and dropping is as random as promised."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.conditioning import Schema
from model.tokens import drop_attributes, null_like, tokenise

SCHEMA = Schema()


def mean_age(age: float) -> float:
    """Age that the two slots stand for: knots in years, weighted."""
    condition = torch.from_numpy(SCHEMA.null_row())
    condition[0] = age
    rows, weights = tokenise(SCHEMA, condition)
    knots = (rows[:2] - 1) * 5.0
    return float((knots * weights[:2]).sum())


def full(num_records: int) -> Tensor:
    """Conditions without a null."""
    condition = torch.ones(num_records, len(SCHEMA.names))
    condition[:, 0] = 40.0
    return condition


@given(age=st.floats(0, 100, width=32))
def test_an_age_between_two_knots_is_their_weighted_mean(age: float) -> None:
    assert mean_age(age) == pytest.approx(age, abs=1e-4)


@pytest.mark.parametrize(
    ("age", "nearest"), [(-3.0, 0.0), (0.0, 0.0), (100.0, 100.0), (117.0, 100.0)]
)
def test_an_age_outside_the_knots_is_the_nearest_knot(age: float, nearest: float) -> None:
    assert mean_age(age) == nearest


def test_every_attribute_has_its_own_null_row() -> None:
    rows, weights = tokenise(SCHEMA, torch.from_numpy(SCHEMA.null_row()))
    assert rows.tolist() == [0, *SCHEMA.offsets]
    assert weights.tolist() == [0.0, *[1.0] * 20]


def test_no_two_values_share_a_row() -> None:
    seen: list[int] = list(range(22))
    for attribute, size in enumerate(SCHEMA.vocabulary[1:], start=1):
        condition = torch.from_numpy(np.tile(SCHEMA.null_row(), (size + 1, 1)))
        condition[:, attribute] = torch.arange(size + 1)
        seen += tokenise(SCHEMA, condition)[0][:, attribute + 1].tolist()
    assert seen == list(range(155))


def test_an_id_outside_the_vocabulary_counts_as_null() -> None:
    condition = torch.from_numpy(SCHEMA.null_row())
    condition[1], condition[2] = 3, -1
    rows, _ = tokenise(SCHEMA, condition)
    assert rows[2:4].tolist() == list(SCHEMA.offsets[1:3])


def test_a_condition_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="has 20 attributes, the model knows 7"):
        tokenise(Schema(("covid",)), full(2))


def test_dropping_happens_as_often_as_asked() -> None:
    generator = torch.Generator().manual_seed(5)
    dropped = drop_attributes(full(20_000), p_each=0.15, p_all=0.10, generator=generator)
    null = torch.cat([dropped[:, :1].isnan(), dropped[:, 1:] == 0], dim=1)
    expected = 1 - 0.9 * 0.85
    # Five standard errors of a share of 20,000.
    tolerance = 5 * (expected * (1 - expected) / 20_000) ** 0.5
    torch.testing.assert_close(
        null.double().mean(dim=0), torch.full((20,), expected).double(), atol=tolerance, rtol=0
    )
    assert float(null.all(dim=1).double().mean()) == pytest.approx(0.10, abs=0.011)


def test_attributes_are_dropped_independently_of_each_other() -> None:
    generator = torch.Generator().manual_seed(6)
    dropped = drop_attributes(full(20_000), p_each=0.5, p_all=0.0, generator=generator)
    null = (dropped[:, 1:] == 0).double()
    correlation = torch.corrcoef(null.T) - torch.eye(19)
    assert correlation.abs().max() < 0.04


def test_what_was_null_stays_null_and_what_is_kept_is_unchanged() -> None:
    condition = full(500)
    condition[::2, 0] = torch.nan
    condition[::3, 5] = 0
    generator = torch.Generator().manual_seed(7)
    dropped = drop_attributes(condition, p_each=0.3, p_all=0.1, generator=generator)
    null = torch.cat([dropped[:, :1].isnan(), dropped[:, 1:] == 0], dim=1)
    assert null[::2, 0].all()
    assert null[::3, 5].all()
    torch.testing.assert_close(dropped[~null], condition[~null], rtol=0, atol=0)


def test_the_same_seed_drops_the_same() -> None:
    first, second = (
        drop_attributes(full(50), p_each=0.3, p_all=0.1, generator=torch.Generator().manual_seed(8))
        for _ in range(2)
    )
    assert torch.equal(first.nan_to_num(-1), second.nan_to_num(-1))


def test_nothing_known_is_the_schema_s_null_row() -> None:
    expected = torch.from_numpy(np.tile(SCHEMA.null_row(), (3, 1)))
    torch.testing.assert_close(null_like(full(3)), expected, equal_nan=True, rtol=0, atol=0)

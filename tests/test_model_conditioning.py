"""Rows hold what is known and null for the rest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.conditioning import FINDING_STATES, FINDINGS, RACES, SEXES, VIEWS, Metadata, Schema

NOTHING = Metadata(
    age=None, sex=None, view=None, race=None, site=None, manufacturer=None, findings={}
)

anything = st.builds(
    Metadata,
    age=st.none() | st.floats(),
    sex=st.none() | st.text() | st.sampled_from(SEXES),
    view=st.none() | st.text() | st.sampled_from(VIEWS),
    race=st.none() | st.text() | st.sampled_from(RACES),
    site=st.none() | st.integers(),
    manufacturer=st.none() | st.integers(),
    findings=st.dictionaries(
        st.text() | st.sampled_from(FINDINGS), st.text() | st.sampled_from(FINDING_STATES)
    ),
)


def test_the_default_table_has_155_rows_without_gap_or_overlap() -> None:
    schema = Schema()
    used = [
        offset + number
        for offset, size in zip(schema.offsets, schema.vocabulary, strict=True)
        for number in range(size + 1)
    ]
    assert used == list(range(155))
    assert schema.num_embeddings == 155
    assert len(schema.names) == 20


def test_a_known_radiograph_becomes_these_numbers() -> None:
    known = Metadata(
        age=62.5,
        sex="M",
        view="LATERAL",
        race="other",
        site=32,
        manufacturer=1,
        findings={"edema": "uncertain", "fracture": "absent", "no_finding": "not_mentioned"},
    )
    row = Schema(("edema", "fracture", "no_finding", "pneumonia")).row(known)
    np.testing.assert_array_equal(row, np.array([62.5, 2, 3, 4, 32, 1, 3, 1, 4, 0]))


def test_nothing_known_is_the_null_row() -> None:
    row = Schema().row(NOTHING)
    np.testing.assert_array_equal(row, Schema().null_row())
    np.testing.assert_array_equal(row, np.array([np.nan, *np.zeros(19)]))


def test_values_that_the_study_does_not_know_become_null() -> None:
    odd = Metadata(
        age=-1.0,
        sex="X",
        view="pa",
        race="",
        site=33,
        manufacturer=0,
        findings={"edema": "severe", "gout": "present"},
    )
    np.testing.assert_array_equal(Schema().row(odd), Schema().null_row())


@given(metadata=anything)
def test_every_row_has_an_age_or_nan_and_ids_within_the_vocabulary(metadata: Metadata) -> None:
    schema = Schema()
    row = schema.row(metadata)
    assert row.dtype == np.float32
    assert np.isnan(row[0]) or 0 <= row[0] <= 150
    assert all(
        0 <= value <= size for value, size in zip(row[1:], schema.vocabulary[1:], strict=True)
    )
    assert np.array_equal(row[1:], np.floor(row[1:]))


def test_a_study_can_name_other_findings() -> None:
    schema = Schema(("covid",))
    assert schema.names == ("age", "sex", "view", "race", "site", "manufacturer", "covid")
    assert schema.num_embeddings == 90


@pytest.mark.parametrize("findings", [("edema", "edema"), ("age",), ("",)])
def test_findings_with_a_name_that_is_taken_or_empty_are_refused(findings: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="they must be different names"):
        Schema(findings)

"""What a person asks for, in words, as the model's condition, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.statistics import MANUFACTURERS
from model.conditioning import (
    FINDING_STATES,
    FINDINGS,
    NUM_MANUFACTURERS,
    NUM_SITES,
    RACES,
    SEXES,
    VIEWS,
    Schema,
)
from synthesis.generation.wish import (
    NoAge,
    NoAssignment,
    NoSites,
    UnknownWish,
    Value,
    Wish,
    assignments,
    in_words,
    parse_value,
    values_of,
)

SCHEMA = Schema()
SITES = {"north": 1, "south-2": 2}
values: st.SearchStrategy[dict[str, Value]] = st.fixed_dictionaries(
    {},
    optional={
        "age": st.integers(0, 240).map(lambda halves: halves / 2),
        "sex": st.sampled_from(SEXES),
        "view": st.sampled_from(VIEWS),
        "race": st.sampled_from(RACES),
        "site": st.sampled_from(sorted(SITES.values())),
        "manufacturer": st.integers(1, NUM_MANUFACTURERS),
        **{name: st.sampled_from(FINDING_STATES) for name in FINDINGS},
    },
)


@given(values)
def test_values_survive_the_row_and_the_words(given: dict[str, Value]) -> None:
    row = Wish(values=given).row(SCHEMA)
    assert values_of(row, SCHEMA) == given
    texts = [f"{name}={text}" for name, text in in_words(given, SITES).items()]
    assert assignments(texts, SCHEMA, SITES) == given


def test_what_is_not_wished_for_is_left_open() -> None:
    row = Wish(values={"view": "AP", "edema": "uncertain"}).row(SCHEMA)
    given = dict(zip(SCHEMA.names, row.tolist(), strict=True))
    assert {name: value for name, value in given.items() if value and not np.isnan(value)} == {
        "view": 2.0,
        "edema": 3.0,
    }
    assert np.isnan(given["age"])


def test_a_hospital_and_a_maker_may_be_called_by_name_or_number() -> None:
    by_name = assignments(["site=south-2", "manufacturer=ge"], SCHEMA, SITES)
    by_number = assignments(["site=2", "manufacturer=5"], SCHEMA, SITES)
    assert by_name == by_number == {"site": 2, "manufacturer": 5}
    assert MANUFACTURERS[4] == "ge"
    assert in_words(by_name, SITES) == {"site": "south-2", "manufacturer": "ge"}


def test_without_a_list_of_hospitals_any_number_is_taken() -> None:
    assert parse_value("site", str(NUM_SITES), SCHEMA) == NUM_SITES
    with pytest.raises(UnknownWish, match="'33'"):
        parse_value("site", "33", SCHEMA)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sex=X", "'X' is not something this model knows: give one of F, M"),
        ("view=front", "give one of PA, AP, LATERAL, OTHER"),
        ("race=", "give one of asian, black, white, other"),
        ("cough=present", "'cough' is not something this model knows"),
        ("edema=huge", "give one of absent, present, uncertain, not_mentioned"),
        ("site=west", "give one of north, south-2, 1, 2"),
        ("site=3", "give one of north, south-2, 1, 2"),
        ("manufacturer=17", "'17' is not something this model knows: give one of agfa"),
        ("manufacturer=acme", "vieworks, another, 1, 2"),
    ],
)
def test_an_unknown_wish_is_answered_with_what_is_known(text: str, sentence: str) -> None:
    with pytest.raises(UnknownWish) as caught:
        assignments([text], SCHEMA, SITES)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", ["old", "-1", "121", "nan", "inf", ""])
def test_an_age_that_nobody_has_is_refused(text: str) -> None:
    with pytest.raises(NoAge, match="give years from 0 to 120"):
        assignments([f"age={text}"], SCHEMA)


def test_a_model_without_numbers_of_hospitals_draws_like_none_of_them() -> None:
    with pytest.raises(NoSites, match="leave the site open"):
        assignments(["site=north"], SCHEMA, {})


@pytest.mark.parametrize("texts", [["edema"], ["sex=F", "sex=M"], ["=F", "=F"]])
def test_a_text_that_gives_no_attribute_one_value_is_refused(texts: list[str]) -> None:
    with pytest.raises((NoAssignment, UnknownWish)):
        assignments(texts, SCHEMA)

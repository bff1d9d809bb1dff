"""What is known, what is wanted and what is left open, as two conditions."""

import numpy as np
import pytest

from model.conditioning import Schema
from synthesis.editing.consequences import Consequences
from synthesis.editing.wanted import Contradiction, NothingToChange, Wanted, wanted
from synthesis.generation.wish import UnknownWish, Value

SCHEMA = Schema()
KNOWN: dict[str, Value] = {"age": 60.0, "sex": "F", "view": "PA", "edema": "present"}


def conditions(edits: dict[str, Value], *free: str, **known: Value) -> Wanted:
    return wanted(KNOWN | known, edits, free, SCHEMA)


def test_only_what_is_set_differs_and_the_rest_is_held() -> None:
    both = conditions({"sex": "M"})
    assert both.source == KNOWN
    assert both.target == KNOWN | {"sex": "M"}
    source, target = both.rows(SCHEMA)
    assert np.flatnonzero(source != target).tolist() == [SCHEMA.names.index("sex")]


def test_a_finding_that_shall_appear_is_taken_to_be_absent_and_the_other_way_round() -> None:
    both = conditions({"fracture": "present", "pneumonia": "absent"})
    assert both.source["fracture"] == "absent"
    assert both.source["pneumonia"] == "present"
    assert both.assumed == {"fracture", "pneumonia"}


def test_what_is_known_is_not_taken_for_something_else() -> None:
    both = conditions({"edema": "absent"}, edema="uncertain")
    assert both.source["edema"] == "uncertain"
    assert not both.assumed


def test_a_sex_that_nobody_states_stays_open_in_the_source() -> None:
    both = wanted({}, {"sex": "F"}, (), SCHEMA)
    assert both.source == {}
    assert both.target == {"sex": "F"}


def test_what_is_freed_is_open_in_both() -> None:
    both = conditions({"age": 90.0}, "edema", "view")
    assert both.source == {"age": 60.0, "sex": "F"}
    assert both.target == {"age": 90.0, "sex": "F"}


def test_an_edited_finding_frees_what_says_that_there_is_none() -> None:
    both = conditions({"fracture": "present"}, no_finding="present")
    assert "no_finding" not in {*both.source, *both.target}
    assert both.freed == {"no_finding"}


@pytest.mark.parametrize(
    "edits", [{"support_devices": "present"}, {"age": 20.0}, {"no_finding": "absent"}]
)
def test_a_device_or_an_age_says_nothing_about_findings(edits: dict[str, Value]) -> None:
    both = wanted({"no_finding": "present"}, edits, (), SCHEMA)
    assert both.source["no_finding"] == "present"
    assert not both.freed


def test_no_finding_beside_a_finding_is_refused_with_what_to_type() -> None:
    with pytest.raises(Contradiction, match="give --set edema=absent as well"):
        conditions({"no_finding": "present"})
    both = conditions({"no_finding": "present", "edema": "absent"})
    assert both.target["no_finding"] == "present"


def test_an_edit_that_changes_nothing_is_refused() -> None:
    same: dict[str, Value] = {"sex": "F"}
    for edits in ({}, same, {**same, "edema": "present"}):
        with pytest.raises(NothingToChange):
            conditions(edits)


def test_what_is_set_cannot_be_free_and_only_attributes_can() -> None:
    with pytest.raises(Contradiction, match="both set and freed"):
        conditions({"sex": "M"}, "sex")
    with pytest.raises(UnknownWish, match="'bones' is not"):
        conditions({"sex": "M"}, "bones")


def test_what_follows_changes_too_from_what_is_known_or_drawn() -> None:
    follows = Consequences(
        before={"edema": "absent", "fracture": "absent"},
        after={"edema": "absent", "fracture": "present"},
    )
    both = wanted(KNOWN, {"age": 90.0}, (), SCHEMA, follows)
    assert both.source == KNOWN | {"fracture": "absent"}
    assert both.target == {**KNOWN, "age": 90.0, "edema": "absent", "fracture": "present"}
    assert both.follows == {"edema", "fracture"}
    assert not both.assumed

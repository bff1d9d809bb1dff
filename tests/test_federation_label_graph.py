"""The expert's graph: what the program's own says, what a study keeps of it, and what is wrong with a bad one."""

from pathlib import Path

import pytest

from federation.label_graph import load_label_graph, pairs_of
from federation.statistics import AGES, PRESENCE, check_pairs
from federation.strict_yaml import ConfigError
from model.conditioning import FINDINGS, Schema


def complaint(tmp_path: Path, text: str) -> str:
    path = tmp_path / "graph.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_label_graph(path, FINDINGS)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_programs_own_graph_has_every_attribute_of_a_condition() -> None:
    graph = load_label_graph(None, FINDINGS, ("north", "south"))
    assert set(graph.order) == set(Schema().names)
    assert graph.values["site"] == ("north", "south")
    assert graph.values["age"] == AGES
    assert graph.values["edema"] == PRESENCE
    assert graph.none_of == {"no_finding"}


def test_nobodys_age_sex_or_hospital_follows_from_an_illness() -> None:
    graph = load_label_graph(None, FINDINGS)
    everything_else = set(graph.order) - {"age", "sex", "race", "site"}
    assert graph.descendants(everything_else) == frozenset()
    for cause in ("age", "sex", "race"):
        assert graph.descendants({cause}).isdisjoint({"age", "sex", "race", "site"})
    assert {"pleural_effusion", "support_devices", "view"} <= graph.descendants({"cardiomegaly"})


def test_a_table_is_asked_for_every_arrow_but_those_of_hospitals_and_rules() -> None:
    graph = load_label_graph(None, FINDINGS)
    pairs = pairs_of(graph, FINDINGS)
    check_pairs(pairs, FINDINGS)
    assert len(pairs) == 39
    assert {"site", "no_finding"}.isdisjoint(name for pair in pairs for name in pair)
    assert ("cardiomegaly", "edema") in pairs
    assert ("view", "support_devices") in pairs  # the layout's order, not the arrow's


def test_a_study_with_fewer_findings_keeps_what_it_has_of_the_graph() -> None:
    findings = ("edema", "pleural_effusion")
    graph = load_label_graph(None, findings)
    assert "cardiomegaly" not in graph.values
    assert graph.parents["edema"] == ("site", "age")
    assert set(pairs_of(graph, findings)) == {
        ("age", "edema"), ("age", "pleural_effusion"), ("edema", "pleural_effusion"),
        ("view", "age"), ("view", "pleural_effusion"), ("view", "manufacturer"),
    }  # fmt: skip


def test_a_circle_is_shown(tmp_path: Path) -> None:
    text = "parents: {site: [], edema: [pneumonia], pneumonia: [fracture], fracture: [edema]}"
    message = complaint(tmp_path, text)
    assert "go round in a circle: take one of them out" in message
    assert "edema -> pneumonia" in message  # the way the arrows point: no, the parent first


def test_an_unknown_name_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    message = complaint(tmp_path, "parents: {site: [], edema: [smoking]}")
    assert "'smoking' is not an attribute: there are site, view, sex, age" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "parents: {edema: [age]}",
            "age acts on edema and has no line of its own: write `age: []`",
        ),
        ("parents: {age: [], edema: [age, age]}", "a parent of edema stands twice"),
        ("parents: {age: []}\nnone_of: {no_finding: [age]}", "can only be none of findings"),
        ("parents: {edema: [], no_finding: []}\nnone_of: {no_finding: [edema]}", "not both"),
        ("parents: {edema: []}\nparent: {}", "parent"),
        ("parents: {edema: }", "parents.edema"),
    ],
)
def test_what_makes_no_graph_is_refused_in_one_sentence(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert expected in complaint(tmp_path, text)

"""A mapping says how a table is read, and every slip in it is a sentence."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from client.labels.mapping import FindingWords, LabelMapping, RowKey
from client.labels.presets import PRESETS, load_mapping
from client.labels.shape import CodedColumns, ListCell, TermRows, Votes
from client.labels.words import file_name, plain
from federation.strict_yaml import ConfigError, check_config
from model.conditioning import FINDINGS


def mapping(**changes: object) -> LabelMapping:
    content: dict[str, Any] = {
        "key": {"kind": "accession", "columns": ["Accession"]},
        "cell": {"column": "Findings", "separator": ";", "silence": "absent", "empty": "unknown"},
        "findings": {"edema": {"present": ["oedema"]}},
    }
    return check_config("some.yaml", content | changes, LabelMapping)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"findings": {"edemma": {"present": ["oedema"]}}}, "no finding edemma: the model's are"),
        ({"findings": {"edema": {"present": ["oedema", "Oedema "]}}}, "'oedema' stands twice"),
        (
            {"findings": {"edema": {"present": ["oedema"], "uncertain": ["oedema"]}}},
            "'oedema' stands twice for one finding",
        ),
        ({"findings": {"edema": {"present": [" "]}}}, "a term is empty"),
        ({"findings": {"edema": {}}}, "needs at least one term"),
        ({"findings": {"edema": {"presnt": ["oedema"]}}}, "findings.edema.presnt"),
        ({"ignored": ["Oedema"]}, "'Oedema' tells a finding here and none there"),
        ({"void": ["x"], "ignored": ["x"]}, "'x' stands twice among"),
        ({"parents": {"lesion": ["nodule"]}}, "no finding nodule"),
        ({"other_findings": ["nodule"]}, "other_findings names nodule, which nothing here tells"),
        ({"no_finding_excludes": ["oedema"]}, "no finding oedema"),
        ({"cell": None}, "one of columns, cell, rows and text must say"),
        ({"key": {"kind": "name", "columns": ["Name"]}}, "key.kind"),
        ({"key": {"kind": "study", "columns": []}}, "columns must name the column"),
        ({"key": {"kind": "file", "columns": ["a"], "folders": 9}}, "folders is 9"),
        (
            {"columns": {"codes": {"1": "positive"}, "blank": "unknown"}},
            "columns.codes.1: Input should be 'absent', 'present', 'uncertain', 'not_mentioned' or 'unknown'",
        ),
        ({"columns": {"codes": {1: "present"}, "blank": "unknown"}}, "should be a valid string"),
        (
            {"columns": {"codes": {"1": "present", "1.0": "absent"}, "blank": "unknown"}},
            "the code '1' stands twice",
        ),
        ({"columns": {"codes": {"": "absent"}, "blank": "unknown"}}, "an empty cell is no code"),
        ({"columns": {"codes": {"1": "present"}}}, "columns.blank: Field required"),
        ({"rows": {"column": "a", "value": "b", "silence": "absent"}}, "value and codes go"),
        (
            {"rows": {"column": "a", "silence": "absent", "votes": {"rater": "r", "min_votes": 0}}},
            "min_votes is 0",
        ),
        ({"colums": {}}, "colums"),
    ],
)
def test_a_slip_is_named(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        mapping(**changes)


def test_one_term_may_tell_two_findings() -> None:
    both = {
        name: {"present": ["hydropneumothorax"]} for name in ("pneumothorax", "pleural_effusion")
    }
    assert set(mapping(findings=both).findings) == set(both)


@pytest.mark.parametrize("name", PRESETS)
def test_every_mapping_that_comes_with_the_program_can_be_used(name: str) -> None:
    preset = load_mapping(name, Path("nowhere"))
    assert {*preset.findings} <= {*FINDINGS, *preset.other_findings}


EXAMPLE = Path(__file__).parents[1] / "configs" / "labels" / "own.example.yaml"


@pytest.mark.parametrize(
    "schema", [LabelMapping, RowKey, FindingWords, CodedColumns, ListCell, TermRows, Votes]
)
def test_the_example_shows_every_key(schema: type) -> None:
    assert is_dataclass(schema)
    text = EXAMPLE.read_text()
    assert [field.name for field in fields(schema) if f"{field.name}:" not in text] == []


def test_the_example_can_be_used() -> None:
    assert load_mapping(str(EXAMPLE), Path()).key.kind == "accession"


def test_a_name_that_is_no_mapping_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="nhi is neither a YAML file nor one of fedcxr, chexpert"):
        load_mapping("nhi", Path())


def test_a_hospitals_own_mapping_is_found_beside_its_profile_and_its_rules_beside_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    text = "key: {kind: study, columns: [uid]}\ntext: {columns: [Befund]}\nreport_terms: deutsch.yaml\n"
    (folder / "own.yaml").write_text(text)
    own = load_mapping("labels/own.yaml", tmp_path)
    assert own.report_terms == str(folder / "deutsch.yaml")


def test_a_mapping_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"own\.yaml cannot be read"):
        load_mapping("own.yaml", tmp_path)


@pytest.mark.parametrize(
    ("path", "folders", "name"),
    [
        ("00000001_000.png", 0, "00000001_000"),
        ("images/00000001_000.PNG", 0, "00000001_000"),
        ("1.2.840.113619.5", 0, "1.2.840.113619.5"),
        ("1.2.840.113619.5.dcm", 0, "1.2.840.113619.5"),
        (
            "CheXpert-v1.0/train/patient1/study2/view1_frontal.jpg",
            2,
            "patient1/study2/view1_frontal",
        ),
        (r"train\patient1\study2\view1_frontal.dcm", 2, "patient1/study2/view1_frontal"),
        ("view1.jpg", 2, "view1"),
    ],
)
def test_a_file_is_known_by_its_name_without_ending(path: str, folders: int, name: str) -> None:
    assert file_name(path, folders) == name
    assert RowKey(kind="file", columns=("a",), folders=folders).identifier(f" {path}") == name


def test_other_identifiers_are_taken_as_they_are() -> None:
    assert RowKey(kind="study", columns=("a",)).identifier(" 1.2.png ") == "1.2.png"


def test_capitals_blanks_and_underscores_make_no_other_word() -> None:
    assert plain(" Pleural  Effusion") == plain("pleural_effusion") == "pleural_effusion"
    assert plain("Nodule/Mass") == "nodule_mass"

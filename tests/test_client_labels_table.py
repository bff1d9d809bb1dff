"""A table of labels becomes findings per radiograph, and odd rows are counted."""

import gzip
import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.labels.agreement import agreed, voted
from client.labels.mapping import LabelMapping
from client.labels.presets import load_mapping
from client.labels.sheet import Sheet
from client.labels.table import (
    LabelProblem,
    Labels,
    LabelsUnusable,
    labels_of_sheet,
    read_labels,
)
from federation.strict_yaml import check_config
from model.conditioning import FINDING_STATES

FINDINGS = ("edema", "pleural_effusion")
FEDCXR = load_mapping("fedcxr", Path())
STATES = dict.fromkeys(FINDINGS, "present")


def written(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read(path: Path) -> Labels:
    return read_labels(path, FEDCXR, FINDINGS)


def mapping(**changes: object) -> LabelMapping:
    content: dict[str, Any] = {
        "key": {"kind": "accession", "columns": ["id"]},
        "findings": {
            "edema": {"present": ["oedema", "fluid lung"], "absent": ["dry lung"]},
            "pleural_effusion": {"present": ["effusion"], "uncertain": ["blunted angle"]},
        },
    }
    return check_config("some.yaml", content | changes, LabelMapping)


LISTED = mapping(
    cell={"column": "found", "separator": "|", "silence": "absent", "empty": "not_mentioned"},
    open_ended=["as before"],
    void=["not to be used"],
    ignored=["scoliosis"],
)


def listed(*cells: str, rule: LabelMapping = LISTED) -> Labels:
    rows = ([str(number), cell] for number, cell in enumerate(cells))
    return labels_of_sheet(Sheet(columns=["id", "found"], rows=iter(rows)), rule, FINDINGS)


def test_the_four_codes_of_chexpert_become_the_four_states(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "study_instance_uid,Edema,Pleural Effusion\n1.2,1,0\n1.3,-1.0,\n",
    )
    labels = read(path)
    assert labels.of("1.2") == {"edema": "present", "pleural_effusion": "absent"}
    assert labels.of("1.3") == {"edema": "uncertain", "pleural_effusion": "not_mentioned"}
    assert labels.problems == {}
    assert labels.key == "study"


def test_nothing_is_known_of_a_study_without_a_row(tmp_path: Path) -> None:
    labels = read(written(tmp_path, "study_instance_uid,edema\n1.2,1\n"))
    assert labels.of("9.9") == {}


def test_odd_rows_and_columns_are_counted_and_the_rest_is_used(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "study_instance_uid,edema,name\n1.2,1,x\n1.2,1,x\n,1,x\n1.3,maybe,x\n1.4,1\n\n1.5,0,x\n",
    )
    labels = read(path)
    assert labels.problems == {
        LabelProblem.UNKNOWN_COLUMN: 1,
        LabelProblem.MISSING_COLUMN: 1,
        LabelProblem.DUPLICATE_STUDY: 1,
        LabelProblem.NO_STUDY: 1,
        LabelProblem.BAD_VALUE: 1,
        LabelProblem.DAMAGED_ROW: 1,
    }
    assert labels.of("1.2") == {"edema": "present"}
    assert labels.of("1.3") == {}
    assert labels.of("1.4") == {"edema": "present"}
    assert labels.of("1.5") == {"edema": "absent"}


def test_rows_that_disagree_leave_the_finding_unknown_whatever_a_third_one_says(
    tmp_path: Path,
) -> None:
    text = "study_instance_uid,edema,pleural_effusion\n1.2,1,0\n1.2,0,\n1.2,1,0\n1.3,,1\n1.3,-1,1\n"
    labels = read(written(tmp_path, text))
    assert labels.of("1.2") == {"pleural_effusion": "absent"}
    assert labels.of("1.3") == {"edema": "uncertain", "pleural_effusion": "present"}
    assert labels.problems == {LabelProblem.CONFLICT: 1, LabelProblem.DUPLICATE_STUDY: 3}


def test_a_row_with_a_cell_too_many_is_not_used_because_its_cells_are_shifted(
    tmp_path: Path,
) -> None:
    text = "name,study_instance_uid,edema,pleural_effusion\nA,B,1.2,1,0\nC,1.3,1,0,\n"
    labels = read(written(tmp_path, text))
    assert labels.of("1.2") == labels.of("B") == {}
    assert labels.of("1.3") == {"edema": "present", "pleural_effusion": "absent"}
    assert labels.problems[LabelProblem.DAMAGED_ROW] == 2


def test_a_finding_of_a_study_beyond_the_fourteen_has_a_column_of_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, "study_instance_uid,Scoliosis\n1.2,1\n")
    labels = read_labels(path, FEDCXR, ("scoliosis",))
    assert labels.of("1.2") == {"scoliosis": "present"}


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("\ufeffstudy_instance_uid,edema\n1.2,1\n".encode())
    assert read(path).of("1.2") == {"edema": "present"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_delimit(tmp_path: Path, delimiter: str) -> None:
    text = 'study_instance_uid,edema,pleural_effusion\n"1,2;3",1,0\n'.replace(",", delimiter)
    labels = read(written(tmp_path, text.replace(f"1{delimiter}2;3", "1,2;3")))
    assert labels.of("1,2;3") == {"edema": "present", "pleural_effusion": "absent"}


def test_a_gzipped_table_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv.gz"
    path.write_bytes(gzip.compress(b"study_instance_uid,edema\n1.2,1\n"))
    assert read(path).of("1.2") == {"edema": "present"}


def test_a_table_of_json_lines_is_read_too(tmp_path: Path) -> None:
    rows = (
        {"study_instance_uid": "1.2", "edema": 1.0, "pleural_effusion": None},
        {"pleural_effusion": -1, "study_instance_uid": "1.3"},
    )
    path = written(tmp_path, "\n".join(map(json.dumps, rows)), "labels.json")
    labels = read(path)
    assert labels.of("1.2") == {"edema": "present", "pleural_effusion": "not_mentioned"}
    assert labels.of("1.3") == {"edema": "not_mentioned", "pleural_effusion": "uncertain"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"uid,edema\n", "names no column study_instance_uid"),
        (b"", "names no column study_instance_uid"),
        (b"study_instance_uid,name\n1.2,x\n", "no column that tells a finding"),
        (b"study_instance_uid,edema\n\xff\xfe", "not UTF-8"),
        (b'study_instance_uid,edema\n"' + b"x" * 200_000, "not a table"),
        (b'study_instance_uid,edema\n"' + b"x\n" * 100_000, "not a table"),
        (b"study_instance_uid,edema\n" + b"x" * 100_000 + b"," + b"y" * 100_000, "not a table"),
        (b"study_instance_uid,edema" + b"," * 6_000_000, "not a table"),
    ],
)
def test_a_file_that_is_no_labels_file_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(LabelsUnusable, match=reason):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("labels.csv.gz", b"study_instance_uid,edema\n", "a gzip file that is damaged"),
        ("labels.csv.gz", gzip.compress(b"study_instance_uid,edema\n", mtime=0)[:-9], "damaged"),
        ("labels.json", b"[1]\n", "not one JSON object a line"),
        ("labels.json", b'{"study_instance_uid": 1, "edema": 1}\n{"a\n', "not one JSON object"),
        ("labels.json", b'{"a":' * 100_000, "not one JSON object a line"),
    ],
)
def test_a_damaged_file_of_another_kind_is_refused_as_well(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LabelsUnusable, match=reason):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelsUnusable, match="no such file"):
        read(tmp_path / "labels.csv")


def test_no_study_is_printed_with_the_labels(tmp_path: Path) -> None:
    labels = read(written(tmp_path, "study_instance_uid,edema\n1.2.77,1\n"))
    assert "1.2.77" not in repr(labels)


def test_a_list_says_what_is_in_it_and_by_its_silence_what_is_not() -> None:
    labels = listed("oedema|scoliosis", "Effusion", "scoliosis", "")
    assert labels.of("0") == {"edema": "present", "pleural_effusion": "absent"}
    assert labels.of("1") == {"edema": "absent", "pleural_effusion": "present"}
    assert labels.of("2") == {"edema": "absent", "pleural_effusion": "absent"}
    assert labels.of("3") == {"edema": "not_mentioned", "pleural_effusion": "not_mentioned"}
    assert labels.problems == {}


@pytest.mark.parametrize(
    ("cell", "states"),
    [
        ("possible oedema|effusion", {"edema": "uncertain", "pleural_effusion": "present"}),
        ("effusion, probable", {"edema": "absent", "pleural_effusion": "uncertain"}),
        ("oedema?", {"edema": "uncertain", "pleural_effusion": "absent"}),
        ("oedema?|fluid lung", {"edema": "present", "pleural_effusion": "absent"}),
        ("blunted angle", {"edema": "absent", "pleural_effusion": "uncertain"}),
        ("dry lung|effusion", {"edema": "absent", "pleural_effusion": "present"}),
        ("as before|effusion", {"pleural_effusion": "present"}),
        ("as before", {}),
        ("not to be used|effusion", {}),
    ],
)
def test_the_words_around_a_term_count(cell: str, states: Mapping[str, str]) -> None:
    assert listed(cell).of("0") == states


def test_a_list_that_contradicts_itself_leaves_the_finding_unknown_and_is_counted() -> None:
    labels = listed("dry lung|fluid lung")
    assert labels.of("0") == {"pleural_effusion": "absent"}
    assert labels.problems == {LabelProblem.CONFLICT: 1}


def test_a_term_that_nobody_knows_ends_the_silence_and_is_counted() -> None:
    labels = listed("pleural effusions|oedema")
    assert labels.of("0") == {"edema": "present"}
    assert labels.problems == {LabelProblem.UNMAPPED_TERM: 1}


def test_a_part_of_a_term_is_no_term() -> None:
    assert listed("pericardial effusion").of("0") == {}


def test_frequent_unknown_terms_are_shown_and_rare_ones_are_not_as_they_may_hold_a_name() -> None:
    often = [f"odd term {number}" for number in range(30) for _ in range(number)]
    labels = listed(*often, "Jane Doe", "x" * 70)
    assert len(labels.unmapped) == 20
    assert labels.unmapped["odd_term_29"] == 29
    assert min(labels.unmapped.values()) >= 5
    assert "jane_doe" not in {*labels.unmapped}
    assert labels.problems[LabelProblem.UNMAPPED_TERM] == len(often) + 2
    assert "odd" not in repr(labels)
    assert listed("Jane Doe").unmapped == {}


def test_a_list_that_is_no_list_is_a_value_without_meaning() -> None:
    cell = {"column": "found", "silence": "absent", "empty": "unknown"}
    labels = listed("oedema", "['oedema']", "[]", "", rule=mapping(cell=cell))
    assert [labels.of(str(number)) for number in range(4)] == [
        {},
        {"edema": "present", "pleural_effusion": "absent"},
        {},
        {},
    ]
    assert labels.problems == {LabelProblem.BAD_VALUE: 1}


PARENTS = mapping(
    cell={"column": "found", "separator": "|", "silence": "absent", "empty": "unknown"},
    parents={"lesion": ["mass", "nodule"]},
    findings={"mass": {"present": ["big"]}, "lung_lesion": {"present": ["lesion", "big"]}},
    other_findings=["mass", "nodule"],
)


def test_where_there_is_a_thing_its_forms_are_unknown_and_where_there_is_none_they_are_absent() -> (
    None
):
    rows = [["1", "lesion"], ["2", "lesion|big"], ["3", "effusion"], ["4", "effusion"]]
    sheet = Sheet(columns=["id", "found"], rows=iter(rows))
    rule = mapping(
        **{name: getattr(PARENTS, name) for name in ("cell", "parents", "findings")},
        other_findings=["mass", "nodule"],
        ignored=["effusion"],
    )
    labels = labels_of_sheet(sheet, rule, ("mass", "nodule", "lung_lesion"))
    assert labels.of("1") == {"lung_lesion": "present"}
    assert labels.of("2") == {"lung_lesion": "present", "mass": "present"}
    assert labels.of("3") == dict.fromkeys(("mass", "nodule", "lung_lesion"), "absent")


def test_rows_of_terms_with_codes_are_gathered_per_radiograph() -> None:
    rule = mapping(
        rows={
            "column": "finding",
            "value": "state",
            "codes": {"yes": "present", "no": "absent"},
            "silence": "unknown",
        }
    )
    rows = [
        ["a", "oedema", "Yes"],
        ["b", "effusion", "no"],
        ["a", "effusion", "no"],
        ["a", "effusion", "no"],
        ["b", "oedema", "perhaps"],
        ["c", "", "yes"],
        ["d", "oedema", "yes"],
        ["d", "oedema", "no"],
    ]
    labels = labels_of_sheet(
        Sheet(columns=["id", "finding", "state"], rows=iter(rows)), rule, FINDINGS
    )
    assert labels.of("a") == {"edema": "present", "pleural_effusion": "absent"}
    assert labels.of("b") == {"pleural_effusion": "absent"}
    assert labels.of("c") == labels.of("d") == {}
    assert labels.problems == {LabelProblem.BAD_VALUE: 1, LabelProblem.CONFLICT: 1}


def test_report_text_in_a_column_is_read_by_rule() -> None:
    rule = mapping(text={"columns": ["Findings", "Impression"]})
    rows = [["1", "No edema.", "Left effusion."], ["2", "", " "]]
    sheet = Sheet(columns=["id", "findings", "impression"], rows=iter(rows))
    labels = labels_of_sheet(sheet, rule, (*FINDINGS, "scoliosis"))
    assert labels.of("1") == {"edema": "absent", "pleural_effusion": "present"}
    assert labels.of("2") == {}
    assert labels.problems == {LabelProblem.MISSING_COLUMN: 1}


STATEMENTS = st.dictionaries(st.sampled_from(FINDINGS), st.sampled_from(FINDING_STATES))


@given(first=STATEMENTS, second=STATEMENTS)
def test_it_does_not_matter_which_of_two_statements_comes_first(
    first: dict[str, str], second: dict[str, str]
) -> None:
    one, other = agreed(first, second), agreed(second, first)
    assert one.states == other.states
    assert one.disputed == other.disputed
    assert not one.disputed & set(one.states)


@given(statement=STATEMENTS)
def test_a_statement_agrees_with_itself_and_with_silence(statement: dict[str, str]) -> None:
    for second in (statement, {}):
        assert agreed(statement, second).states == statement
        assert agreed(statement, second).disputed == frozenset()


def test_present_and_absent_dispute_each_other() -> None:
    agreement = agreed(
        {"edema": "present", "mass": "not_mentioned"}, {"edema": "absent", "mass": "uncertain"}
    )
    assert agreement.disputed == {"edema"}
    assert agreement.states == {"mass": "uncertain"}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (("present", "present", "absent"), "present"),
        (("present", "absent", "absent"), "uncertain"),
        (("uncertain", "absent", "absent"), "uncertain"),
        (("absent", "absent", "absent"), "absent"),
        (("absent", "absent", None), None),
        (("present", None, None), "uncertain"),
        (("absent", "not_mentioned"), "not_mentioned"),
    ],
)
def test_a_finding_needs_its_votes(said: tuple[str | None, ...], state: str | None) -> None:
    statements = [{} if each is None else {"edema": each} for each in said]
    assert voted(statements, min_votes=2) == ({} if state is None else {"edema": state})


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds_and_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("study_instance_uid,edema,pleural_effusion\n")
        file.writelines(f"1.2.826.0.1.{n},{n % 2}.0,{n % 3 - 1}.0\n" for n in range(100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    labels = read(path)
    assert time.process_time() - start < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes
    assert len(labels.states) == 100_000
    assert labels.of("1.2.826.0.1.1") == {"edema": "present", "pleural_effusion": "absent"}

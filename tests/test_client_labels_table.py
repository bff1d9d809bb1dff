"""labels.csv becomes findings per study, and odd rows are counted."""

from pathlib import Path

import pytest

from client.labels.table import LabelProblem, LabelsUnusable, read_labels

FINDINGS = ("edema", "pleural_effusion")


def written(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_the_four_codes_of_chexpert_become_the_four_states(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "study_instance_uid,Edema,Pleural Effusion\n1.2,1,0\n1.3,-1.0,\n",
    )
    labels = read_labels(path, FINDINGS)
    assert labels.of_study("1.2") == {"edema": "present", "pleural_effusion": "absent"}
    assert labels.of_study("1.3") == {"edema": "uncertain", "pleural_effusion": "not_mentioned"}
    assert labels.problems == {}


def test_nothing_is_known_of_a_study_without_a_row(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, "study_instance_uid,edema\n1.2,1\n"), FINDINGS)
    assert labels.of_study("9.9") == {}


def test_odd_rows_and_columns_are_counted_and_the_rest_is_used(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "study_instance_uid,edema,name\n1.2,1,x\n1.2,0,x\n,1,x\n1.3,maybe,x\n1.4,1\n\n1.5,0,x\n",
    )
    labels = read_labels(path, FINDINGS)
    assert labels.problems == {
        LabelProblem.UNKNOWN_COLUMN: 1,
        LabelProblem.MISSING_COLUMN: 1,
        LabelProblem.DUPLICATE_STUDY: 1,
        LabelProblem.NO_STUDY: 1,
        LabelProblem.BAD_VALUE: 1,
        LabelProblem.DAMAGED_ROW: 1,
    }
    assert labels.of_study("1.2") == {"edema": "present"}
    assert labels.of_study("1.3") == {}
    assert labels.of_study("1.4") == {"edema": "present"}
    assert labels.of_study("1.5") == {"edema": "absent"}


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("\ufeffstudy_instance_uid,edema\n1.2,1\n".encode())
    assert read_labels(path, FINDINGS).of_study("1.2") == {"edema": "present"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"uid,edema\n", "names no column study_instance_uid"),
        (b"", "names no column study_instance_uid"),
        (b"study_instance_uid\n\xff\xfe", "not UTF-8"),
        (b'study_instance_uid\n"' + b"x" * 200_000, "not a table"),
    ],
)
def test_a_file_that_is_no_labels_file_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(LabelsUnusable, match=reason):
        read_labels(path, FINDINGS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelsUnusable, match="no such file"):
        read_labels(tmp_path / "labels.csv", FINDINGS)


def test_no_study_is_printed_with_the_labels(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, "study_instance_uid,edema\n1.2.77,1\n"), FINDINGS)
    assert "1.2.77" not in repr(labels)

"""Tables and words of public sets: streamed, understood, and refused where they are something else."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from simulation.public_sets import tables
from simulation.public_sets.tables import ColumnMissing, TableDamaged, csv_rows, json_entries
from simulation.public_sets.words import adult_age_of, age_of, race_of, sex_of, view_of

STUDIES = {
    f"p{n}": {"ImagePath": [f"../{n}.png"], "Findings": 'a "quoted" } {,: ä'} for n in range(9)
}


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_rows_come_with_their_titles_and_without_gaps(tmp_path: Path, ending: str) -> None:
    path, text = tmp_path / f"t{ending}", '\ufeffa,b\n1,"x\ny"\n2\n'
    path.write_bytes(gzip.compress(text.encode()) if ending == ".csv.gz" else text.encode())
    assert list(csv_rows(path, ("a", "b"))) == [{"a": "1", "b": "x\ny"}, {"a": "2", "b": ""}]


def test_a_table_of_another_release_is_told_by_its_titles(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ColumnMissing, match=r"t\.csv has no column c"):
        next(csv_rows(tmp_path / "t.csv", ("a", "c")))


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"a,b\n" * 999, mtime=0)[:-20], b"a,b\n1,2\n", b""],
    ids=["cut off", "not compressed", "empty"],
)
def test_an_incomplete_download_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv.gz").write_bytes(content)
    with pytest.raises((TableDamaged, ColumnMissing)):
        list(csv_rows(tmp_path / "t.csv.gz", ("a",)))


@pytest.mark.parametrize("chunk", [1, 7, 64, 2**20])
@pytest.mark.parametrize("indent", [None, 2])
def test_entries_of_a_large_json_file_come_one_at_a_time(
    tmp_path: Path, chunk: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_CHUNK", chunk)
    (tmp_path / "t.json").write_text(json.dumps(STUDIES, indent=indent, ensure_ascii=False))
    assert dict(json_entries(tmp_path / "t.json")) == STUDIES


@pytest.mark.parametrize("text", [json.dumps(STUDIES)[:-30], '{"a": 1}', "[]", ""])
def test_json_that_breaks_off_or_is_something_else_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(TableDamaged, match="download it again"):
        dict(json_entries(tmp_path / "t.json"))


@pytest.mark.parametrize(
    ("understand", "text", "meaning"),
    [
        (age_of, "63", 63.0),
        (age_of, "060Y", 60.0),
        (age_of, "63.0", 63.0),
        (age_of, "018M", 1.5),
        (age_of, "412", None),
        (age_of, "150", None),
        (age_of, "0", 0.0),
        (age_of, "", None),
        (adult_age_of, "000Y", None),
        (adult_age_of, "018Y", 18.0),
        (sex_of, "Female", "F"),
        (sex_of, "m", "M"),
        (sex_of, "O", None),
        (view_of, "POSTERO_ANTERIOR", "PA"),
        (view_of, "AP_horizontal", "AP"),
        (view_of, "L", "LATERAL"),
        (view_of, "LT-DECUB", "OTHER"),
        (view_of, "COSTAL", "OTHER"),
        (view_of, "EXCLUDE", None),
        (view_of, "N/A", None),
        (race_of, "White, non-Hispanic", "white"),
        (race_of, "Black or African American", "black"),
        (race_of, "Asian - Historical Conv", "asian"),
        (race_of, "Native Hawaiian or Other Pacific Islander", "other"),
        (race_of, "Hispanic/Latino", None),
        (race_of, "Unknown", None),
    ],
)
def test_words_of_the_sets_are_understood(
    understand: Callable[[str], object], text: str, meaning: object
) -> None:
    assert understand(text) == meaning

"""The hospital's labels.csv -> findings per study, in the words of the model.

One row per study, a column `study_instance_uid`, and one column per finding in CheXpert's coding: 1
present, 0 absent, -1 uncertain, blank not mentioned (Irvin et al. 2019, https://arxiv.org/abs/1901.07031).
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

STUDY_COLUMN = "study_instance_uid"
_STATES = {
    "1": "present",
    "0": "absent",
    "-1": "uncertain",
    "": "not_mentioned",
}


class LabelProblem(StrEnum):
    """What can be wrong with a labels file without stopping the work."""

    UNKNOWN_COLUMN = "unknown_column"
    MISSING_COLUMN = "missing_column"
    DUPLICATE_STUDY = "duplicate_study"
    NO_STUDY = "no_study"
    BAD_VALUE = "bad_value"
    DAMAGED_ROW = "damaged_row"


class LabelsUnusable(ValueError):
    """The labels file as a whole cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"The labels {path} cannot be used: {reason}. The data manager writes one row per study with "
            f"the columns {STUDY_COLUMN} and one per finding, or takes the labels out of the configuration."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Findings of every labelled study."""

    by_study: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Study instance UID -> finding -> state. A finding without a usable value is left out: unknown."""
    problems: Mapping[LabelProblem, int]
    """How often each problem occurred."""

    def of_study(self, study_uid: str) -> Mapping[str, str]:
        """Findings of one study; none are known of a study without a row."""
        return self.by_study.get(study_uid, {})


NO_LABELS = Labels(by_study={}, problems={})


def read_labels(path: Path, findings: tuple[str, ...]) -> Labels:
    """Read the findings asked for; everything odd about single rows is counted and left out.

    Raises:
        LabelsUnusable: there is no such file, it is not text, or it lacks the study column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _read_rows(csv.reader(file), path, findings)
    except (FileNotFoundError, IsADirectoryError):
        raise LabelsUnusable(path, "there is no such file") from None
    except PermissionError:
        raise LabelsUnusable(path, "this user may not read it") from None
    except UnicodeDecodeError:
        raise LabelsUnusable(path, "it is not UTF-8 text") from None
    except csv.Error:
        raise LabelsUnusable(path, "it is not a table of comma-separated values") from None


def _read_rows(rows: Iterable[list[str]], path: Path, findings: tuple[str, ...]) -> Labels:
    rows = iter(rows)
    columns = [_finding_name(title) for title in next(rows, [])]
    if STUDY_COLUMN not in columns:
        raise LabelsUnusable(path, f"its first line names no column {STUDY_COLUMN}")
    problems = _column_problems(columns, findings)
    by_study: dict[str, Mapping[str, str]] = {}
    for row in rows:
        if row:
            _add_study(by_study, problems, dict(zip(columns, row, strict=False)), findings)
            problems[LabelProblem.DAMAGED_ROW] += len(row) != len(columns)
    return Labels(by_study=by_study, problems=+problems)


def _finding_name(title: str) -> str:
    """`Pleural Effusion` and `pleural_effusion` are the same column."""
    return re.sub(r"[^a-z0-9]+", "_", title.strip().lower()).strip("_")


def _column_problems(columns: list[str], findings: tuple[str, ...]) -> Counter[LabelProblem]:
    known = {STUDY_COLUMN, *findings}
    return Counter(
        {
            LabelProblem.UNKNOWN_COLUMN: sum(column not in known for column in columns),
            LabelProblem.MISSING_COLUMN: sum(finding not in columns for finding in findings),
        }
    )


def _add_study(
    by_study: dict[str, Mapping[str, str]],
    problems: Counter[LabelProblem],
    row: Mapping[str, str],
    findings: tuple[str, ...],
) -> None:
    """Add one row; of a study named twice the first row counts."""
    study = row.get(STUDY_COLUMN, "").strip()
    if not study:
        problems[LabelProblem.NO_STUDY] += 1
    elif study in by_study:
        problems[LabelProblem.DUPLICATE_STUDY] += 1
    else:
        coded = {name: _code(row[name]) for name in findings if name in row}
        by_study[study] = {name: _STATES[code] for name, code in coded.items() if code in _STATES}
        problems[LabelProblem.BAD_VALUE] += sum(code not in _STATES for code in coded.values())


def _code(value: str) -> str:
    """`1.0`, as spreadsheets and data frames write it, is `1`."""
    return value.strip().removesuffix(".0")

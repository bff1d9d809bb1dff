"""BRAX: 40,967 radiographs of 24,959 examinations in a large hospital in Brazil, as PNG and DICOM.

Reads release 1.1.0 (PhysioNet): `master_spreadsheet_update.csv` (or `master_spreadsheet.csv`) with the paths
`images/id_.../Study_.../Series_.../image-....png` and `Anonymized_DICOMs/...`; the PNG are taken where both are there.
Ages are given in groups of five years ("85 or more" beyond) and makers by a number that hides their names. PhysioNet
Credentialed Health Data License 1.5.0. Cite Reis et al. 2022 (https://doi.org/10.1038/s41597-022-01608-8).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from simulation.public_sets.record import PublicRecord, PublicSet, WrongFolder
from simulation.public_sets.tables import csv_rows, first_existing
from simulation.public_sets.words import believable, sex_of, view_of

_TITLE = "BRAX"
_TABLES = ("master_spreadsheet_update.csv", "master_spreadsheet.csv")
_LAYOUT = f"{_TABLES[0]} and images/id_*/Study_*/Series_*/*.png (or Anonymized_DICOMs/)"
_COLUMNS = (
    *("PatientID", "AccessionNumber", "PngPath", "DicomPath", "ViewPosition", "PatientAge"),
    *("PatientSex", "Manufacturer"),
)


def _records(source: Path) -> Iterator[PublicRecord]:
    for row in csv_rows(_label_tables(source)[0], _COLUMNS):
        picture = _picture(source, row)
        yield PublicRecord(
            picture=picture,
            patient=row["PatientID"],
            study=row["AccessionNumber"],
            instance=picture.stem,
            label_key=row["PngPath"],
            view=view_of(row["ViewPosition"]),
            age=_age(row["PatientAge"]),
            sex=sex_of(row["PatientSex"]),
            manufacturer=row["Manufacturer"].removesuffix(".0") or None,
        )


def _label_tables(source: Path) -> tuple[Path, ...]:
    table = first_existing(source, _TABLES)
    if table is None:
        raise WrongFolder(source, title=_TITLE, missing=_TABLES[0], layout=_LAYOUT)
    return (table,)


def _picture(source: Path, row: Mapping[str, str]) -> Path:
    paths = tuple(path for path in (row["PngPath"], row["DicomPath"]) if path)
    return first_existing(source, paths) or source / (paths or ("nowhere",))[0]


def _age(group: str) -> float | None:
    """Middle of a group such as `60-64`, or the one number that is given."""
    ends = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", group)]
    return believable(sum(ends) / len(ends)) if ends else None


BRAX = PublicSet(
    name="brax",
    title=_TITLE,
    terms="PhysioNet Credentialed Health Data License 1.5.0. Cite Reis et al., BRAX, Scientific Data 2022.",
    records=_records,
    label_tables=_label_tables,
)

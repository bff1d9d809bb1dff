"""MIMIC-CXR: 377,110 radiographs of 65,379 patients of an emergency department in Boston.

Reads MIMIC-CXR-JPG 2.0.0 and 2.1.0 (PhysioNet): `mimic-cxr-2.0.0-metadata.csv.gz`, `mimic-cxr-2.0.0-chexpert.csv.gz`
and `files/p10/p10000032/s50414267/<dicom_id>.jpg`. For MIMIC-CXR in DICOM, put the same two tables beside its
`files/` with `<dicom_id>.dcm`. The tables tell view and study, and neither age nor sex. PhysioNet Credentialed Health
Data License 1.5.0: credentialed users, no sharing. Cite Johnson et al. 2019 (https://doi.org/10.1038/s41597-019-0322-0,
https://arxiv.org/abs/1901.07042).
"""

from collections.abc import Iterator
from pathlib import Path

from simulation.public_sets.record import PublicRecord, PublicSet, WrongFolder
from simulation.public_sets.tables import csv_rows, first_existing
from simulation.public_sets.words import view_of

_TITLE = "MIMIC-CXR"
_METADATA = ("mimic-cxr-2.0.0-metadata.csv.gz", "mimic-cxr-2.0.0-metadata.csv")
_LABELS = ("mimic-cxr-2.0.0-chexpert.csv.gz", "mimic-cxr-2.0.0-chexpert.csv")
_LAYOUT = f"{_METADATA[0]}, {_LABELS[0]} and files/p10/p10000032/s50414267/*.jpg (or *.dcm)"
_COLUMNS = ("subject_id", "study_id", "dicom_id", "ViewPosition")


def _records(source: Path) -> Iterator[PublicRecord]:
    if not (source / "files").is_dir():
        raise WrongFolder(source, title=_TITLE, missing="folder files", layout=_LAYOUT)
    for row in csv_rows(_table(source, _METADATA), _COLUMNS):
        patient, study, name = f"p{row['subject_id']}", f"s{row['study_id']}", row["dicom_id"]
        yield PublicRecord(
            picture=_picture(source / "files" / patient[:3] / patient / study / f"{name}.jpg"),
            patient=patient,
            study=study,
            instance=name,
            label_key=row["study_id"],
            view=view_of(row["ViewPosition"]),
        )


def _label_tables(source: Path) -> tuple[Path, ...]:
    return (_table(source, _LABELS),)


def _table(source: Path, names: tuple[str, ...]) -> Path:
    table = first_existing(source, names)
    if table is None:
        raise WrongFolder(source, title=_TITLE, missing=names[0], layout=_LAYOUT)
    return table


def _picture(jpeg: Path) -> Path:
    dicom = jpeg.with_suffix(".dcm")
    return dicom if not jpeg.exists() and dicom.exists() else jpeg


MIMIC = PublicSet(
    name="mimic",
    title=_TITLE,
    terms="PhysioNet Credentialed Health Data License 1.5.0. Cite Johnson et al., MIMIC-CXR, Scientific Data 2019.",
    records=_records,
    label_tables=_label_tables,
)

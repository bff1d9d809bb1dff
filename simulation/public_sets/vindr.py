"""VinDr-CXR: 18,000 radiographs, all PA, of two hospitals in Hanoi, as DICOM.

Reads release 1.0.0 (PhysioNet): `annotations/image_labels_train.csv` and `image_labels_test.csv` (or each beside its
pictures) and `train/<image_id>.dicom`, `test/<image_id>.dicom`. Nothing tells which pictures are of one patient: each
counts as a patient of its own. Age, sex and maker stand in the headers; an age of 0 there is a gap, since the set
holds adults. PhysioNet Credentialed Health Data License 1.5.0. Cite Nguyen et al. 2022
(https://doi.org/10.1038/s41597-022-01498-w).
"""

from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset, dcmread

from client.dicom.header import DAMAGED_FILE_ERRORS, identifier
from simulation.public_sets.record import PublicRecord, PublicSet, WrongFolder
from simulation.public_sets.tables import csv_rows, first_existing
from simulation.public_sets.words import adult_age_of, sex_of

_TITLE = "VinDr-CXR"
_LAYOUT = "annotations/image_labels_train.csv and train/*.dicom (and the same for test)"
_HEADER = ["PatientAge", "PatientSex", "Manufacturer"]


def _records(source: Path) -> Iterator[PublicRecord]:
    for table in _label_tables(source):
        folder = source / _split(table)
        seen: set[str] = set()
        for row in csv_rows(table, ("image_id",)):
            name = row["image_id"]
            if name not in seen:  # one row per reader of the picture
                seen.add(name)
                yield _record(folder / f"{name}.dicom", name)


def _record(picture: Path, name: str) -> PublicRecord:
    header = _header(picture)
    return PublicRecord(
        picture=picture,
        patient=name,
        study=name,
        instance=name,
        label_key=name,
        view="PA",
        age=adult_age_of(identifier(header, "PatientAge")),
        sex=sex_of(identifier(header, "PatientSex")),
        manufacturer=identifier(header, "Manufacturer") or None,
    )


def _header(picture: Path) -> Dataset:
    """The few elements asked for; empty if the file is missing or damaged, which shows when it is copied."""
    try:
        return dcmread(picture, stop_before_pixels=True, specific_tags=_HEADER)
    except DAMAGED_FILE_ERRORS:
        return Dataset()


def _label_tables(source: Path) -> tuple[Path, ...]:
    names = [f"image_labels_{split}.csv" for split in ("train", "test")]
    found = [first_existing(source, (f"annotations/{n}", f"{_split(Path(n))}/{n}")) for n in names]
    tables = tuple(table for table in found if table is not None)
    if not tables:
        raise WrongFolder(source, title=_TITLE, missing=f"annotations/{names[0]}", layout=_LAYOUT)
    return tables


def _split(table: Path) -> str:
    return table.stem.removeprefix("image_labels_")


VINDR = PublicSet(
    name="vindr",
    title=_TITLE,
    terms="PhysioNet Credentialed Health Data License 1.5.0. Cite Nguyen et al., VinDr-CXR, Scientific Data 2022.",
    records=_records,
    label_tables=_label_tables,
)

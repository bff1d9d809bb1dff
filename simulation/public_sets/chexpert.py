"""CheXpert and CheXpert Plus: 223,462 radiographs of 64,725 patients from Stanford.

Reads either release, whichever the folder holds:

- CheXpert Plus (2024): `df_chexpert_plus_240401.csv`, with age, sex, race and the paths of all pictures, and the
  labels `impression_fixed.json` beside it or in `chexbert_labels/`. The labels of the impression are the right ones:
  those of the findings section call three quarters of all pictures healthy, because the section is often empty.
  Without that file the reports in the table are read by rule.
- CheXpert v1.0, full size or small (2019): `train.csv` and `valid.csv`, which hold the labels too.

The pictures are JPEG in `train/` and `valid/`, PNG in `PNG/`, or DICOM in `DICOM/`. Stanford University research use
agreement: no redistribution, no commercial use. Cite Irvin et al. 2019 (https://arxiv.org/abs/1901.07031) and, for
Plus, Chambon et al. 2024 (https://arxiv.org/abs/2405.19538).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from simulation.public_sets.record import PublicRecord, PublicSet, WrongFolder
from simulation.public_sets.tables import csv_rows, first_existing
from simulation.public_sets.words import adult_age_of, race_of, sex_of, view_of

_TITLE = "CheXpert"
_PLUS = "df_chexpert_plus_240401.csv"
_PLUS_LABELS = ("impression_fixed.json", "chexbert_labels/impression_fixed.json")
_LAYOUT = f"{_PLUS} with PNG/ or DICOM/, or train.csv and valid.csv with train/patient00001/study1/view1_frontal.jpg"
_ROOTS = (
    *("PNG/PNG", "PNG", "DICOM/Uncompressed", "DICOM/Compressed", "DICOM"),
    *(".", "CheXpert-v1.0", "CheXpert-v1.0-small"),
)
_COLUMNS = ("Path", "Frontal/Lateral", "AP/PA", "Age", "Sex")
_PLUS_COLUMNS = ("path_to_image", "frontal_lateral", "ap_pa", "age", "sex", "race")
"""The same facts in the same order, and one more."""


def _records(source: Path) -> Iterator[PublicRecord]:
    tables = _tables(source)
    pictures = _picture_folder(source)
    for table in tables:
        columns = _PLUS_COLUMNS if table.name == _PLUS else _COLUMNS
        for row in csv_rows(table, columns):
            yield _record([row[column] for column in columns], pictures)


def _label_tables(source: Path) -> tuple[Path, ...]:
    tables = _tables(source)
    labels = first_existing(source, _PLUS_LABELS) if tables[0].name == _PLUS else None
    return (labels,) if labels else tables


def _tables(source: Path) -> tuple[Path, ...]:
    if (source / _PLUS).exists():
        return (source / _PLUS,)
    tables = [source / name for name in ("train.csv", "valid.csv") if (source / name).exists()]
    if not tables:
        raise WrongFolder(source, title=_TITLE, missing=f"{_PLUS} or train.csv", layout=_LAYOUT)
    return tuple(tables)


def _picture_folder(source: Path) -> Path:
    """The folder that holds `train` and `valid`."""
    for root in _ROOTS:
        if (source / root / "train").is_dir() or (source / root / "valid").is_dir():
            return source / root
    raise WrongFolder(source, title=_TITLE, missing="folder train or valid", layout=_LAYOUT)


def _record(cells: Sequence[str], pictures: Path) -> PublicRecord:
    path, side, projection, age, sex, *race = cells
    patient, study, instance = _names(path)
    return PublicRecord(
        picture=_picture(pictures, path),
        patient=patient,
        study=study,
        instance=instance,
        label_key=path,
        view="LATERAL" if side == "Lateral" else view_of(projection),
        age=adult_age_of(age),
        sex=sex_of(sex),
        race=race_of("".join(race)),
    )


def _names(path: str) -> tuple[str, str, str]:
    """Patient, study and picture of `.../train/patient00001/study1/view1_frontal.jpg`."""
    *_, patient, study, name = ("", "", *path.split("/"))
    return patient, study, f"{study}_{Path(name).stem}"


def _picture(pictures: Path, path: str) -> Path:
    """The picture in the format that was downloaded; the tables always say JPEG."""
    place = pictures.joinpath(*path.split("/")[-4:])
    formats = (".jpg", ".png", ".dcm")
    return next((found for end in formats if (found := place.with_suffix(end)).exists()), place)


CHEXPERT = PublicSet(
    name="chexpert",
    title=_TITLE,
    terms="Stanford research use agreement. Cite Irvin et al. 2019; for CheXpert Plus, Chambon et al. 2024.",
    records=_records,
    label_tables=_label_tables,
)

"""PadChest: 160,861 radiographs of 67,625 patients of a hospital in Alicante, as 16-bit PNG.

Reads the release of February 2019: `PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv` (or `.csv.gz`) and the
pictures in `images/<ImageDir>/<ImageID>`, `<ImageDir>/<ImageID>`, or all in one folder. The age is the year of the
study minus the year of birth. PadChest Dataset Research Use Agreement (BIMCV). Cite Bustos et al. 2020
(https://arxiv.org/abs/1901.07441).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from simulation.public_sets.record import PublicRecord, PublicSet, WrongFolder
from simulation.public_sets.tables import csv_rows, first_existing
from simulation.public_sets.words import believable, sex_of, view_of

_TITLE = "PadChest"
_TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
_LAYOUT = f"{_TABLE} and images/0/*.png to images/54/*.png"
_COLUMNS = (
    *(
        "ImageID",
        "ImageDir",
        "PatientID",
        "StudyID",
        "Projection",
        "StudyDate_DICOM",
        "PatientBirth",
    ),
    *("PatientSex_DICOM", "Manufacturer_DICOM", "Modality_DICOM"),
)


def _records(source: Path) -> Iterator[PublicRecord]:
    for row in csv_rows(_label_tables(source)[0], _COLUMNS):
        name = Path(row["ImageID"]).name
        yield PublicRecord(
            picture=_picture(source, row["ImageDir"], name),
            patient=row["PatientID"],
            study=row["StudyID"],
            instance=name.removesuffix(".png"),
            label_key=row["ImageID"],
            view=view_of(row["Projection"]),
            age=_age(row),
            sex=sex_of(row["PatientSex_DICOM"]),
            manufacturer=row["Manufacturer_DICOM"] or None,
            modality="CR" if row["Modality_DICOM"] == "CR" else "DX",
        )


def _label_tables(source: Path) -> tuple[Path, ...]:
    table = first_existing(source, (_TABLE, f"{_TABLE}.gz"))
    if table is None:
        raise WrongFolder(source, title=_TITLE, missing=_TABLE, layout=_LAYOUT)
    return (table,)


def _picture(source: Path, folder: str, name: str) -> Path:
    places = (f"images/{folder}/{name}", f"{folder}/{name}", f"images/{name}", name)
    return first_existing(source, places) or source / places[0]


def _age(row: Mapping[str, str]) -> float | None:
    try:
        return believable(int(row["StudyDate_DICOM"][:4]) - float(row["PatientBirth"]))
    except ValueError:
        return None


PADCHEST = PublicSet(
    name="padchest",
    title=_TITLE,
    terms="PadChest Dataset Research Use Agreement. Cite Bustos et al., PadChest, Medical Image Analysis 2020.",
    records=_records,
    label_tables=_label_tables,
)

"""NIH ChestX-ray14: 112,120 frontal radiographs of 30,805 patients, as 8-bit PNG of 1024 x 1024 pixels.

Reads the release of 2017 (`Data_Entry_2017.csv`) and its correction of 2020 (`Data_Entry_2017_v2020.csv`), with
the pictures in `images/` or, as unpacked from the twelve archives, in `images_001/images/` to `images_012/images/`.
The pictures were squeezed to a square; the tables tell from what, and so the shape of a pixel. A few have four
channels. No restriction on use; cite Wang et al., "ChestX-ray8", CVPR 2017 (https://arxiv.org/abs/1705.02315), and
acknowledge the NIH Clinical Center.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from simulation.public_sets.record import PublicRecord, PublicSet, WrongFolder
from simulation.public_sets.tables import csv_rows, first_existing
from simulation.public_sets.words import age_of, sex_of, view_of

_TITLE = "NIH ChestX-ray14"
_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "Data_Entry.csv")
_LAYOUT = "Data_Entry_2017_v2020.csv or Data_Entry_2017.csv, and images/*.png or images_001/images/*.png and so on"


def _records(source: Path) -> Iterator[PublicRecord]:
    table, pictures = _label_tables(source)[0], _pictures(source)
    for row in csv_rows(table, ("Image Index", "Patient ID")):
        name = Path(row["Image Index"]).name
        stem = name.removesuffix(".png")
        yield PublicRecord(
            picture=pictures.get(name, source / "images" / name),
            patient=row["Patient ID"],
            study=stem,
            instance=stem,
            label_key=name,
            view=view_of(row.get("View Position", "")),
            age=age_of(row.get("Patient Age", "")),
            sex=sex_of(row.get("Patient Sex") or row.get("Patient Gender", "")),
            pixel_aspect=_pixel_aspect(row),
        )


def _label_tables(source: Path) -> tuple[Path, ...]:
    table = first_existing(source, _TABLES)
    if table is None:
        raise WrongFolder(source, title=_TITLE, missing=_TABLES[0], layout=_LAYOUT)
    return (table,)


def _pictures(source: Path) -> Mapping[str, Path]:
    """File name -> picture, wherever the archives were unpacked to."""
    folders = [source / "images", *sorted(source.glob("images_0*/images"))]
    found = {path.name: path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    if not found:
        raise WrongFolder(source, title=_TITLE, missing="images folder with PNG", layout=_LAYOUT)
    return found


def _pixel_aspect(row: Mapping[str, str]) -> float:
    """Height of a pixel divided by its width, after the original was squeezed to a square."""
    try:
        height = float(row["Height]"]) * float(row["y]"])
        return height / (
            float(row["OriginalImage[Width"]) * float(row["OriginalImagePixelSpacing[x"])
        )
    except (KeyError, ValueError, ZeroDivisionError):
        return 1.0


NIH = PublicSet(
    name="nih",
    title=_TITLE,
    terms="No restriction on use. Cite Wang et al., ChestX-ray8, CVPR 2017; acknowledge the NIH Clinical Center.",
    records=_records,
    label_tables=_label_tables,
)

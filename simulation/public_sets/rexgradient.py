"""ReXGradient-160K: 273,004 radiographs of 109,487 patients of 79 sites in the United States, as PNG.

Reads the release of 2025 (Hugging Face, `rajpurkarlab/ReXGradient-160K`): `metadata/train_metadata_view_position.json`
and the same for valid and test, one entry per study with lists of its pictures, and `deid_png/<patient>/<accession>/
studies/<study>/series/<series>/instances/<instance>.png`, as unpacked from `deid_png.part00` to `part09`. The set has
no labels of findings: its reports in `metadata/train_metadata.csv` are read by rule, or, if it stands beside `deid_png`, a
table of one's own, `labels.csv`, in CheXpert's coding with a column `id` for the key of the study in the JSON.
ReXGradient-160K Non-Commercial Data Access and Use Agreement. Cite Zhang et al. 2025 (https://arxiv.org/abs/2505.00228).
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from simulation.public_sets.record import PublicRecord, PublicSet, WrongFolder
from simulation.public_sets.tables import first_existing, json_entries
from simulation.public_sets.words import age_of, race_of, sex_of, view_of

_TITLE = "ReXGradient-160K"
_FOLDERS = ("metadata", "download/metadata", ".")
_TABLE = "metadata/train_metadata_view_position.json"
_LAYOUT = f"{_TABLE} and deid_png/"


def _records(source: Path) -> Iterator[PublicRecord]:
    if not (source / "deid_png").is_dir():
        raise WrongFolder(source, title=_TITLE, missing="folder deid_png", layout=_LAYOUT)
    for table in _tables(source):
        for key, study in json_entries(table):
            yield from _of_study(source, key, study)


def _of_study(source: Path, key: str, study: Mapping[str, object]) -> Iterator[PublicRecord]:
    pictures = _list(study.get("ImagePath"))
    for number, path in enumerate(pictures):
        place = path.rpartition("deid_png/")[2]  # written as seen from `metadata`
        yield PublicRecord(
            picture=source / "deid_png" / place,
            patient=str(study.get("PatientID", place.split("/")[0])),
            study=str(study.get("StudyInstanceUid", key)),
            instance=Path(place).stem,
            label_key=key,
            view=view_of(_at(study, "ImageViewPosition", number)),
            age=age_of(_at(study, "PatientAge", number)),
            sex=sex_of(_at(study, "PatientSex", number)),
            race=race_of(_at(study, "EthnicGroup", number)),
            manufacturer=_at(study, "Manufacturer", number) or None,
            modality="CR" if _at(study, "ImageModality", number) == "CR" else "DX",
        )


def _at(study: Mapping[str, object], name: str, number: int) -> str:
    """A fact of one picture; facts of the whole study stand there once."""
    values = _list(study.get(name))
    return values[number] if number < len(values) else (values[0] if len(values) == 1 else "")


def _list(value: object) -> list[str]:
    """A list, a single value, or a list written out as text, as a list of texts."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return []
    values = value if isinstance(value, list) else [value]
    return ["" if each is None else str(each) for each in values]


def _tables(source: Path) -> tuple[Path, ...]:
    tables = _in_metadata(source, "{}_metadata_view_position.json")
    if not tables:
        raise WrongFolder(source, title=_TITLE, missing=_TABLE, layout=_LAYOUT)
    return tables


def _label_tables(source: Path) -> tuple[Path, ...]:
    own = source / "labels.csv"
    return (own,) if own.exists() else _in_metadata(source, "{}_metadata.csv")


def _in_metadata(source: Path, name: str) -> tuple[Path, ...]:
    """The tables of a name of all three splits, as far as they are there."""
    names = [name.format(split) for split in ("train", "valid", "test")]
    found = [first_existing(source, tuple(f"{folder}/{n}" for folder in _FOLDERS)) for n in names]
    return tuple(table for table in found if table is not None)


REXGRADIENT = PublicSet(
    name="rexgradient",
    title=_TITLE,
    terms="ReXGradient-160K Non-Commercial Data Access and Use Agreement. Cite Zhang et al. 2025, arXiv:2505.00228.",
    records=_records,
    label_tables=_label_tables,
)

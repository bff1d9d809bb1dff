"""`fedcxr import`: what it says, what it refuses, and that it goes on where it was stopped."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from simulation.public_sets import importing
from simulation.public_sets.importing import OtherImport
from simulation.public_sets.record import PublicRecord
from simulation.public_sets.writing import dicom_file

Fedcxr = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]

COUNT = 12


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A dozen patients in the layout of NIH ChestX-ray14: noise with the right tables."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(COUNT):
        name = f"{number:08d}_000.png"
        picture = rng.integers(0, 255, (40, 40), dtype=np.uint8)
        (folder / "images" / name).write_bytes(imagecodecs.png_encode(picture))
        finding, view = ("Edema", "AP") if number % 3 == 0 else ("No Finding", "PA")
        rows.append((name, finding, 0, number, 50, "F", view))
    titles = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age")
    with (folder / "Data_Entry_2017.csv").open("w", newline="") as file:
        csv.writer(file).writerows([(*titles, "Patient Gender", "View Position"), *rows])
    return folder


def test_a_person_is_told_what_each_hospital_got_and_what_to_type_next(
    fedcxr: Fedcxr, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, said, _ = fedcxr("import", "nih", source, out, "--by", "view")
    assert code == 0
    hospitals = [line.split() for line in said.splitlines()[:3]]
    assert [(name, count) for name, count, *_ in hospitals] == [
        ("view-ap", "3"),
        ("view-pa", "7"),
        ("held-out", "2"),
    ]
    assert "Cite Wang et al." in said
    assert said.splitlines()[-1] == f"Then type: fedcxr simulate {out / 'simulation.yaml'}"


def test_facts_come_as_json(fedcxr: Fedcxr, source: Path, tmp_path: Path) -> None:
    arguments = ("--by", "finding", "--finding", "edema", "--json")
    code, said, _ = fedcxr("import", "nih", source, tmp_path / "out", *arguments)
    facts = json.loads(said)
    assert code == 0
    assert facts["radiographs"] == {"written": COUNT}
    assert facts["sites"]["with-edema"] == {"records": 3, "patients": 3, "present": {"edema": 3}}
    assert facts["simulation"] == str(tmp_path / "out" / "simulation.yaml")


def test_pictures_that_are_missing_or_damaged_are_counted_and_left_out(
    fedcxr: Fedcxr, source: Path, tmp_path: Path
) -> None:
    pictures = sorted((source / "images").iterdir())
    pictures[0].unlink()
    pictures[1].write_bytes(b"<html>not found</html>")
    pictures[2].write_bytes(imagecodecs.png_encode(np.eye(120, dtype=np.uint8).reshape(40, 120, 3)))
    code, said, _ = fedcxr("import", "nih", source, tmp_path / "out", "--sites", 2)
    assert code == 0
    assert "not used: 1 missing, 1 unreadable, 1 in colour" in said
    labelled = [
        row
        for path in (tmp_path / "out").rglob("labels.csv")
        for row in csv.reader(path.read_text().splitlines())
    ]
    assert len(labelled) == COUNT - 3 + 3  # a row per study and the titles of three tables


def test_typed_again_it_goes_on_and_rewrites_nothing(
    fedcxr: Fedcxr, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def stopped(set_name: str, record: PublicRecord) -> bytes:
        if record.patient == "7":
            raise KeyboardInterrupt
        return dicom_file(set_name, record)

    whole, halved = tmp_path / "whole", tmp_path / "halved"
    fedcxr("import", "nih", source, whole)
    with monkeypatch.context() as patch:
        patch.setattr(importing, "dicom_file", stopped)
        code, _, _ = fedcxr("import", "nih", source, halved)
    assert code == 130
    first = {path: path.stat().st_mtime_ns for path in halved.rglob("*.dcm")}
    assert 0 < len(first) < COUNT
    assert not list(halved.rglob("labels.csv"))
    code, said, _ = fedcxr("import", "nih", source, halved, "--json")
    assert json.loads(said)["radiographs"] == {"kept": len(first), "written": COUNT - len(first)}
    assert {path: path.stat().st_mtime_ns for path in first} == first
    for path in whole.rglob("*"):
        if path.is_file():
            assert (halved / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_stopped_at_any_moment_a_file_is_whole_or_not_there(
    fedcxr: Fedcxr, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = Path.replace

    def stop(draft: Path, target: Path) -> Path:
        if target.suffix == ".dcm":
            raise KeyboardInterrupt
        return move(draft, target)

    monkeypatch.setattr(Path, "replace", stop)
    code, _, _ = fedcxr("import", "nih", source, tmp_path / "out")
    assert code == 130
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_a_limit_takes_the_first_radiographs_of_the_tables(
    fedcxr: Fedcxr, source: Path, tmp_path: Path
) -> None:
    fedcxr("import", "nih", source, tmp_path / "out", "--limit", 7)
    patients = {path.parent.name for path in (tmp_path / "out").rglob("*.dcm")}
    assert patients == {str(number) for number in range(7)}


def test_a_folder_belongs_to_one_import(
    refused: Refused, fedcxr: Fedcxr, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fedcxr("import", "nih", source, out)
    assert str(OtherImport(out)) in refused("import", "nih", source, out, "--seed", 1)
    assert str(OtherImport(source)) in refused("import", "nih", source, source)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("mnist",), "there is no public set 'mnist': give one of nih, chexpert, mimic"),
        (("chexpert",), "there is no df_chexpert_plus_240401.csv or train.csv. Name the folder"),
        (("nih", "--by", "hair"), "there is no way 'hair' to deal"),
        (("nih", "--by", "view", "--sites", "9"), "cannot be dealt to 9 sites by view"),
    ],
)
def test_a_mistake_is_one_sentence(
    refused: Refused, source: Path, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    name, *options = arguments
    assert complaint in refused("import", name, source, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_a_hospital_without_a_single_picture_is_a_mistake(
    refused: Refused, source: Path, tmp_path: Path
) -> None:
    for path in sorted((source / "images").iterdir())[1:]:
        path.unlink()
    assert "Unpack all of the set" in refused("import", "nih", source, tmp_path / "out")

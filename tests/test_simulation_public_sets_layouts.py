"""Each of the seven public sets, as a tiny copy of its layout, becomes hospitals that the hospital's reader reads."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from client.dicom.outcome import Radiograph
from client.dicom.pixels import decode_frame
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from model.conditioning import FINDINGS
from simulation.config import FolderSet, FolderSite, load_simulation
from simulation.public_sets.catalogue import SETS
from simulation.public_sets.counts import Fate
from simulation.public_sets.importing import ImportPlan, import_set
from simulation.public_sets.partition import Partition
from simulation.public_sets.record import WrongFolder
from tests.public_sets.layouts import LAYOUTS, nih, rexgradient
from tests.public_sets.radiographs import COUNT, Known, phantom, png

CODES = {"1": "present", "0": "absent", "-1": "uncertain", "": "not_mentioned"}
PARTITION = Partition(by="random", num_sites=2, held_out=0.2)


@pytest.fixture(scope="module", params=LAYOUTS)
def imported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Known]]:
    """A set's hospitals, and what must be in them."""
    name, make = LAYOUTS[request.param]
    folder = tmp_path_factory.mktemp(name)
    known = make(folder / "source")
    plan = ImportPlan(public_set=SETS[name], source=folder / "source", partition=PARTITION)
    summary = import_set(plan, folder / "out", on_progress=lambda _done, _total: None)
    assert summary.fates == {Fate.WRITTEN: COUNT}
    return folder / "out", known


def files_of(out: Path) -> list[Path]:
    return sorted(out.rglob("*.dcm"))


def read(path: Path) -> Radiograph:
    outcome = read_file(path, image_size=32, policy=ReadPolicy())
    assert isinstance(outcome, Radiograph), outcome
    return outcome


def labels_of(out: Path) -> dict[str, dict[str, str]]:
    rows = [
        row
        for path in out.rglob("labels.csv")
        for row in csv.DictReader(path.read_text().splitlines())
    ]
    return {row["study_instance_uid"]: row for row in rows}


def test_every_radiograph_is_read_with_what_the_set_says_of_it(
    imported: tuple[Path, dict[str, Known]],
) -> None:
    out, known = imported
    found = {}
    for path in files_of(out):
        radiograph = read(path)
        assert radiograph.identity.issuer in SETS  # so that two sets never share a patient
        found[radiograph.identity.patient_id] = radiograph.metadata
    assert found.keys() == known.keys()
    for patient, metadata in found.items():
        expected = known[patient]
        assert (metadata.view, metadata.sex) == (expected.view, expected.sex)
        assert metadata.age == pytest.approx(expected.age, abs=1e-3)
        assert metadata.manufacturer == expected.manufacturer


def test_not_a_grey_level_is_lost(imported: tuple[Path, dict[str, Known]]) -> None:
    out, known = imported
    for path in files_of(out):
        radiograph = dcmread(path)
        frame = decode_frame(radiograph, max_pixels=10**6)
        stored = frame.values[frame.patterns]
        np.testing.assert_array_equal(stored, known[radiograph.PatientID].pixels)


def test_labels_name_the_studies_of_the_files_in_the_schema_of_the_hospital(
    imported: tuple[Path, dict[str, Known]],
) -> None:
    out, known = imported
    rows = labels_of(out)
    assert len(rows) == COUNT
    for path in files_of(out):
        identity = read(path).identity
        row = rows[identity.study_uid]
        assert list(row) == ["study_instance_uid", *FINDINGS]
        expected = known[identity.patient_id].findings
        assert {name: row[name] for name in expected} == expected
        assert set(row.values()) - {identity.study_uid} <= {*CODES, "unknown"}


def test_no_patient_is_in_two_places_and_the_simulation_names_every_place(
    imported: tuple[Path, dict[str, Known]],
) -> None:
    out, known = imported
    plan = load_simulation(out / "simulation.yaml")
    places = [
        each for each in (*plan.sites, plan.held_out) if isinstance(each, FolderSite | FolderSet)
    ]
    patients = [
        {read(path).identity.patient_id for path in files_of(place.data_path)} for place in places
    ]
    assert [len(each) for each in patients] == [2, 2, 2]
    assert set.union(*patients) == known.keys()
    assert all(place.labels_path.is_file() for place in places)


def test_two_pictures_of_one_examination_share_its_row_in_the_labels(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    rexgradient(source)
    table = source / "metadata" / "train_metadata_view_position.json"
    studies = json.loads(table.read_text())
    first = next(iter(studies.values()))
    first["ImagePath"].append(first["ImagePath"][0].replace("1.3.0.png", "1.3.9.png"))
    first["ImageViewPosition"].append("LATERAL")
    png(source / "metadata" / first["ImagePath"][1], phantom(1))
    table.write_text(json.dumps(studies))
    plan = ImportPlan(public_set=SETS["rexgradient"], source=source, partition=PARTITION)
    import_set(plan, out, on_progress=lambda _done, _total: None)
    pair = [read(path) for path in files_of(out) if path.parent.name == "GRDNP0"]
    assert {each.metadata.view for each in pair} == {"PA", "LATERAL"}
    assert len({each.identity.study_uid for each in pair}) == 1
    assert len({each.identity.instance_uid for each in pair}) == 2
    rows = [row for path in out.rglob("labels.csv") for row in path.read_text().splitlines()[1:]]
    assert len(rows) == COUNT


def test_pictures_that_a_set_squeezed_get_back_their_shape(tmp_path: Path) -> None:
    nih(tmp_path / "source")
    plan = ImportPlan(public_set=SETS["nih"], source=tmp_path / "source", partition=PARTITION)
    import_set(plan, tmp_path / "out", on_progress=lambda _done, _total: None)
    for path in files_of(tmp_path / "out"):
        image = read(path).image
        assert (image[:3] == 0).all()  # 2500 wide, 2000 high: a wide chest, black above and below
        assert (image[-3:] == 0).all()


@pytest.mark.parametrize("name", SETS)
def test_a_folder_that_is_not_the_set_is_told_what_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(WrongFolder, match=r"there is no .*\. Name the folder that holds "):
        next(SETS[name].records(tmp_path))


def test_a_table_without_its_pictures_is_told_so(tmp_path: Path) -> None:
    nih(tmp_path)
    for folder in tmp_path.glob("images_*"):
        folder.rename(tmp_path / f"moved_{folder.name}")
    with pytest.raises(WrongFolder, match="there is no images folder"):
        next(SETS["nih"].records(tmp_path))

"""A hospital of phantoms has its own patients, habits and rubbish."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from client.dicom.outcome import Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from model.conditioning import FINDINGS
from simulation.hospitals import CLINIC, HOSPITALS, INTENSIVE_CARE
from simulation.phantom_sites import write_balanced_set, write_phantom_site

SIZE = 32


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_site_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    site = replace(CLINIC, num_records=5)
    for name in ("first", "second"):
        write_phantom_site(tmp_path / name, site, FINDINGS, SIZE)
    write_phantom_site(tmp_path / "other", replace(site, seed=9), FINDINGS, SIZE)
    first, second, other = (files_in(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second
    usable = [name for name in first if name.startswith("dicom/000")]
    assert len(usable) == 5
    assert all(first[name] != other[name] for name in usable)


def test_a_site_has_the_asked_records_labels_and_broken_files(tmp_path: Path) -> None:
    site = replace(INTENSIVE_CARE, num_records=30, num_broken=6)
    summary = write_phantom_site(tmp_path, site, FINDINGS, SIZE)
    assert (summary.num_files, summary.num_records, summary.num_broken) == (36, 30, 6)
    assert len(list((tmp_path / "dicom").rglob("*.dcm"))) == 36
    assert summary.num_patients < 30
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labelled = {row["study_instance_uid"] for row in rows}
    headers = [dcmread(path) for path in (tmp_path / "dicom" / "000").iterdir()]
    assert {header.StudyInstanceUID for header in headers} == labelled
    assert {row[finding] for row in rows for finding in FINDINGS} <= {"", "0", "1", "-1"}
    assert {header.Modality for header in headers} == {"CR"}
    assert all("SYN" in header.PatientID for header in headers)


def test_patients_with_findings_differ_between_hospitals_as_their_prevalence_says(
    tmp_path: Path,
) -> None:
    summaries = {}
    for site in (CLINIC, INTENSIVE_CARE):
        few = replace(site, num_records=60, num_broken=0)
        summaries[site.name] = write_phantom_site(tmp_path / site.name, few, FINDINGS, SIZE)
    devices = {name: s.num_present.get("support_devices", 0) for name, s in summaries.items()}
    assert devices[CLINIC.name] == 0
    assert 20 <= devices[INTENSIVE_CARE.name] <= 50


def test_the_balanced_set_has_equal_shares_of_everything(tmp_path: Path) -> None:
    findings = ("edema", "fracture", "no_finding")
    num_records = 2 * 3 * 2 * 2 * 3
    write_balanced_set(
        tmp_path, HOSPITALS, findings, num_records=num_records, seed=1, image_size=SIZE
    )
    paths = list((tmp_path / "dicom").rglob("*.dcm"))
    read = [read_file(path, image_size=SIZE, policy=ReadPolicy()) for path in paths]
    known = [found.metadata for found in read if isinstance(found, Radiograph)]
    assert len(known) == num_records
    combinations = Counter((item.sex, item.view, item.manufacturer) for item in known)
    assert set(combinations.values()) == {num_records // 12}
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [sum(row[finding] == "1" for row in rows) for finding in findings] == [24, 24, 24]


@pytest.mark.parametrize(
    "wrong", [{"view_mix": {"PA": 0.7}}, {"female_share": 1.5}, {"num_records": 0}]
)
def test_a_site_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"phantom site {CLINIC.name}"):
        replace(CLINIC, **wrong)  # type: ignore[arg-type]

"""A folder of anything becomes the same cache every time, without a trace of who is in it."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID

import client.ingest
from client.cache.layout import current_version
from client.cache.records import open_cache, verify_cache
from client.dicom.policy import ReadPolicy
from client.dicom.rejection import Reason
from client.ingest import NoUsableRadiograph, ingest, settings_digest
from client.labels.table import LabelsUnusable
from client.sources.folder import DataFolderMissing
from client.tally import Tally
from model.conditioning import FINDINGS, Schema
from simulation.hospitals import CLINIC
from simulation.phantom_sites import write_phantom_site

SITE = replace(CLINIC, num_records=40, num_broken=6)
SIZE = 32


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    write_phantom_site(folder, SITE, FINDINGS, image_size=64)
    return folder


@pytest.fixture
def copy(hospital: Path, tmp_path: Path) -> Path:
    shutil.copytree(hospital, tmp_path / "copy")
    return tmp_path / "copy"


def ingested(folder: Path, name: str = "cache", *, num_workers: int = 1) -> Tally:
    return ingest(
        folder / "dicom",
        labels_path=folder / "labels.csv",
        cache_path=folder.parent / name,
        secret_path=folder.parent / "state" / "secret",
        image_size=SIZE,
        findings=FINDINGS,
        num_workers=num_workers,
    )


def content_of(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in current_version(cache).iterdir()}


def test_good_files_are_used_and_broken_ones_counted_by_reason(copy: Path) -> None:
    tally = ingested(copy)
    assert (tally.num_files, tally.num_usable, tally.num_labelled) == (46, 40, 40)
    assert tally.refused == {
        Reason.NOT_DICOM: 2,
        Reason.DECODE_FAILED: 1,
        Reason.NOT_CHEST: 1,
        Reason.DUPLICATE: 1,
        Reason.NO_PIXELS: 1,
    }
    assert str(tally) == (
        "40 of 46 usable: 2 not DICOM, 1 with damaged pixels, 1 duplicate, 1 without pixels, 1 not a chest"
    )
    assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally


def test_the_cache_holds_what_the_headers_and_labels_say(copy: Path) -> None:
    tally = ingested(copy)
    records = open_cache(copy.parent / "cache")
    verify_cache(copy.parent / "cache")
    assert records.tally == tally
    assert records.images.shape == (40, SIZE, SIZE)
    assert len(set(records.patients.tolist())) == tally.num_patients
    columns = dict(zip(Schema(FINDINGS).names, records.rows.T, strict=True))
    assert set(columns["manufacturer"]) == {11.0}
    assert set(columns["site"]) == {0.0}
    assert set(columns["view"]) <= {1.0, 2.0}
    assert columns["age"].min() >= 18.0
    labels = (copy / "labels.csv").read_text().splitlines()
    present = sum(line.split(",")[1 + FINDINGS.index("no_finding")] == "1" for line in labels)
    assert (columns["no_finding"] == 2.0).sum() == present


def test_the_order_and_names_of_files_change_nothing(copy: Path) -> None:
    ingested(copy, "first")
    for number, path in enumerate(sorted((copy / "dicom").rglob("*.dcm"), reverse=True)):
        path.rename(copy / "dicom" / f"{number:03d}-renamed")
    ingested(copy, "second")
    assert content_of(copy.parent / "first") == content_of(copy.parent / "second")


@pytest.mark.slow
def test_several_processes_give_the_same_bytes_as_one(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingested(copy, "first")
    monkeypatch.setattr(client.ingest, "_WORKERS_PAY_FROM_FILES", 1)
    ingested(copy, "second", num_workers=2)
    assert content_of(copy.parent / "first") == content_of(copy.parent / "second")


def test_another_hospital_with_the_same_files_has_other_keys_and_another_order(copy: Path) -> None:
    ingested(copy, "first")
    (copy.parent / "state" / "secret").unlink()
    ingested(copy, "second")
    first, second = (open_cache(copy.parent / name) for name in ("first", "second"))
    assert not set(first.patients.tolist()) & set(second.patients.tolist())
    assert not np.array_equal(first.images, second.images)


def test_a_copy_under_another_identifier_is_a_duplicate(copy: Path) -> None:
    path = copy / "dicom" / "000" / "000007.dcm"
    radiograph = dcmread(path)
    radiograph.SOPInstanceUID = UID("1.2.3")
    radiograph.save_as(copy / "dicom" / "migrated.dcm")
    tally = ingested(copy)
    assert tally.num_usable == 40
    assert tally.refused[Reason.DUPLICATE] == 2


def test_files_without_identifiers_are_one_patient_that_is_never_held_out(copy: Path) -> None:
    shutil.rmtree(copy / "dicom" / "other")
    for path in (copy / "dicom" / "000").iterdir():
        radiograph = dcmread(path)
        radiograph.PatientID = radiograph.SOPInstanceUID = ""
        radiograph.save_as(path)
    tally = ingested(copy)
    assert (tally.num_usable, tally.num_patients, tally.num_held_out) == (40, 1, 0)


def test_patients_are_held_out_whole_and_about_one_in_ten(copy: Path) -> None:
    secret = copy.parent / "state" / "secret"
    secret.parent.mkdir(mode=0o700)
    secret.write_bytes(bytes(32))  # a known secret: who is held out is then no chance
    secret.chmod(0o600)
    ingested(copy)
    records = open_cache(copy.parent / "cache")
    for patient in set(records.patients.tolist()):
        assert len(set(records.held_out[records.patients == patient].tolist())) == 1
    assert 0 < records.held_out.sum() < 12


def test_nothing_that_identifies_a_patient_is_kept(
    copy: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    planted = {
        "PatientName": "ZEBRA^QUAGGA",
        "PatientID": "ZEBRA4711",
        "AccessionNumber": "ZEBRA0815",
    }
    planted |= {"InstitutionName": "ZEBRA CLINIC", "OperatorsName": "ZEBRA^OP", "StudyID": "ZEBRA9"}
    uids = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    for number, path in enumerate(sorted((copy / "dicom" / "000").iterdir())):
        radiograph = dcmread(path)
        for keyword, value in planted.items():
            setattr(radiograph, keyword, f"{value}-{number}")
        for keyword in uids:
            setattr(radiograph, keyword, f"1.2.987654.{number}")
        radiograph.PatientBirthDate, radiograph.StudyDate = "19010203", "20240917"
        radiograph.save_as(path)
        path.rename(path.with_name(f"ZEBRA-{number}.dcm"))
    tally = ingested(copy)
    said = f"{tally} {tally!r} {tally.to_json()} {caplog.text} {''.join(capfd.readouterr())}"
    kept = content_of(copy.parent / "cache") | {"said": said.encode()}
    assert "ingest finished: usable=40 files=46" in said
    for name, content in kept.items():
        for secret in (
            b"ZEBRA",
            b"QUAGGA",
            b"1.2.987654",
            b"4711",
            b"19010203",
            b"20240917",
            b".dcm",
        ):
            assert secret not in content, name
            assert secret.decode().encode("utf-16-le") not in content, name


def test_progress_is_told_file_by_file(copy: Path) -> None:
    told: list[tuple[int, int]] = []
    ingest(
        copy / "dicom",
        labels_path=None,
        cache_path=copy.parent / "cache",
        secret_path=copy.parent / "secret",
        image_size=SIZE,
        findings=FINDINGS,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(number, 46) for number in range(1, 47)]


def test_without_labels_all_findings_are_unknown(copy: Path) -> None:
    ingest(
        copy / "dicom",
        labels_path=None,
        cache_path=copy.parent / "cache",
        secret_path=copy.parent / "secret",
        image_size=SIZE,
        findings=("edema",),
    )
    assert not open_cache(copy.parent / "cache").rows[:, -1].any()


def test_a_folder_without_radiographs_keeps_the_old_cache(copy: Path) -> None:
    ingested(copy)
    before = content_of(copy.parent / "cache")
    shutil.rmtree(copy / "dicom" / "000")
    shutil.copy(copy / "labels.csv", copy / "dicom" / "other" / "004.dcm")
    with pytest.raises(NoUsableRadiograph, match="0 of 6 usable: 3 not DICOM") as raised:
        ingested(copy)
    assert ".dcm" not in str(raised.value)
    assert content_of(copy.parent / "cache") == before


def test_mistakes_in_the_configuration_are_named(copy: Path) -> None:
    (copy / "labels.csv").unlink()
    with pytest.raises(LabelsUnusable, match="no such file"):
        ingested(copy)
    shutil.rmtree(copy / "dicom")
    with pytest.raises(DataFolderMissing):
        ingested(copy)


def test_every_setting_that_changes_records_changes_the_digest() -> None:
    policy = ReadPolicy()
    digests = {
        settings_digest(image_size=64, findings=("edema",), policy=policy),
        settings_digest(image_size=32, findings=("edema",), policy=policy),
        settings_digest(image_size=64, findings=("fracture",), policy=policy),
        settings_digest(
            image_size=64, findings=("edema",), policy=replace(policy, views=("PA", "AP", "OTHER"))
        ),
    }
    assert len(digests) == 4

"""A folder of anything becomes the same cache every time, and only what is new in it is read."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID

import client.cache.shards
import client.intake.ingest
from client.cache.layout import cache_path
from client.cache.records import CacheMissing, open_cache_of, verify_cache
from client.config import SiteConfig
from client.control.limits import Limits
from client.control.quota import QuotaReached, used_bytes
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason
from client.intake.ingest import NoUsableRadiograph, ingest, settings_digest
from client.intake.opt_out import OptOutUnusable
from client.labels.presets import load_report_terms
from client.labels.report_terms import Cues
from client.labels.table import LabelsUnusable
from client.sources.folder import DataFolderMissing
from client.tally import Tally
from model.conditioning import FINDINGS, Schema
from simulation.hospitals import CLINIC
from simulation.phantom_sites import write_phantom_site

SITE = replace(CLINIC, num_records=12, num_broken=6)
SIZE = 32
Content = tuple[dict[str, bytes], Tally]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    write_phantom_site(folder, SITE, FINDINGS, image_size=48)
    return folder


@pytest.fixture
def site(archive: Path, memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteConfig:
    """A hospital with a copy of the archive; files are read in this process, shards are small."""

    def read_here(jobs: Iterator[tuple[object, Path]], **settings: object) -> Iterator[object]:
        del settings["num_workers"]
        for job, path in jobs:
            yield job, read_file(path, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(client.intake.ingest, "read_all", read_here)
    monkeypatch.setattr(client.cache.shards, "MAX_RECORDS", 5)
    shutil.copytree(archive, memory_path / "data")
    return site_of(memory_path)


def site_of(folder: Path) -> SiteConfig:
    return SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=folder / "ca.crt",
        data_path=folder / "data" / "dicom",
        labels_path=folder / "data" / "labels.csv",
        state_path=folder / "state",
        image_size=SIZE,
    )


def files_of(site: SiteConfig) -> list[Path]:
    """The radiographs, without what is broken on purpose."""
    assert site.data_path is not None
    return sorted((site.data_path / "000").iterdir())


def content_of(site: SiteConfig) -> Content:
    """Everything that a training sees of a cache."""
    records = open_cache_of(site)
    arrays = {name: getattr(records, name) for name in ("rows", "patients", "held_out")}
    content = {name: array.tobytes() for name, array in arrays.items()}
    return {**content, "images": records.images[:].tobytes()}, records.tally


def elsewhere(site: SiteConfig, name: str) -> SiteConfig:
    """The same hospital, that has ingested nothing yet."""
    other = replace(site, state_path=site.state_path.with_name(name))
    other.state_path.mkdir(mode=0o700)
    shutil.copy(site.state_path / "patient.secret", other.state_path)
    return other


def test_an_ingest_stops_where_the_hospitals_part_of_the_disk_ends_and_goes_on_once_there_is_more(
    site: SiteConfig,
) -> None:
    site = replace(site, image_size=128)  # 0.17 MB a shard
    everything = ingest(site)
    assert everything.tally.num_usable == 12
    narrow = elsewhere(site, "narrow")
    begun = replace(narrow, limits=Limits(disk_bytes=1))
    with pytest.raises(QuotaReached):
        ingest(begun)  # reads nothing, and begins the journal
    given = used_bytes(begun.state_path) + 300_000
    narrow = replace(begun, limits=Limits(disk_bytes=given))
    for _ in range(2):
        with pytest.raises(QuotaReached, match=r"limits\.disk_bytes.*types the same command again"):
            ingest(narrow)
        assert used_bytes(narrow.state_path) <= given
        with pytest.raises(CacheMissing):
            open_cache_of(narrow)
    wide = replace(narrow, limits=Limits(disk_bytes=10**9))
    assert 0 < ingest(wide).num_read < everything.num_read
    assert content_of(wide) == content_of(site)


def test_good_files_are_used_and_broken_ones_counted_by_reason(site: SiteConfig) -> None:
    done = ingest(site)
    tally = done.tally
    assert (tally.num_files, tally.num_usable, tally.num_labelled) == (18, 12, 12)
    assert tally.refused == {
        Reason.NOT_DICOM: 2,
        Reason.DECODE_FAILED: 1,
        Reason.NOT_CHEST: 1,
        Reason.DUPLICATE: 1,
        Reason.NO_PIXELS: 1,
    }
    assert str(tally) == (
        "12 of 18 usable: 2 not DICOM, 1 with damaged pixels, 1 duplicate, 1 without pixels, 1 not a chest"
    )
    assert str(done).splitlines()[1] == "18 read this time, 0 no longer there"
    assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally


def test_the_cache_holds_what_the_headers_and_labels_say(site: SiteConfig) -> None:
    tally = ingest(site).tally
    records = open_cache_of(site)
    verify_cache(cache_path(site))
    assert records.tally == tally
    assert records.images[:].shape == (12, SIZE, SIZE)
    assert len(set(records.patients.tolist())) == tally.num_patients
    columns = dict(zip(Schema(FINDINGS).names, records.rows.T, strict=True))
    assert set(columns["manufacturer"]) == {11.0}
    assert set(columns["site"]) == {0.0}
    assert set(columns["view"]) <= {1.0, 2.0}
    assert columns["age"].min() >= 18.0
    assert site.labels_path is not None
    labels = site.labels_path.read_text().splitlines()
    present = sum(line.split(",")[1 + FINDINGS.index("no_finding")] == "1" for line in labels)
    assert (columns["no_finding"] == 2.0).sum() == present > 0


def test_nothing_is_read_twice_and_nothing_changes(site: SiteConfig) -> None:
    assert ingest(site).num_read == 18
    before, shards = content_of(site), sorted(cache_path(site).glob("stock-*/*.shard"))
    again = ingest(site)
    assert (again.num_read, again.num_gone) == (0, 0)
    assert content_of(site) == before
    assert sorted(cache_path(site).glob("stock-*/*.shard")) == shards


def test_many_small_ingests_give_what_one_gives(site: SiteConfig) -> None:
    files, waiting = files_of(site), site.state_path.with_name("waiting")
    waiting.mkdir()
    for path in files:
        path.rename(waiting / path.name)
    for number, path in enumerate(files):
        (waiting / path.name).rename(path)
        if number % 3 == 2:
            ingest(site)
    assert ingest(site).num_read == 0
    at_once = elsewhere(site, "at-once")
    ingest(at_once)
    assert content_of(site) == content_of(at_once)
    assert len(list(cache_path(site).glob("stock-*/*.shard"))) < 8


def test_the_order_and_names_of_files_change_nothing(site: SiteConfig) -> None:
    ingest(site)
    before = content_of(site)
    for number, path in enumerate(reversed(files_of(site))):
        path.rename(path.parents[1] / f"{number:03d}-renamed")
    renamed = ingest(site)
    assert (renamed.num_read, renamed.num_gone) == (12, 12)
    assert content_of(site) == before


@pytest.mark.slow
def test_one_process_or_several_give_the_same(archive: Path, memory_path: Path) -> None:
    shutil.copytree(archive, memory_path / "data")
    first = site_of(memory_path)
    ingest(first, num_workers=1)
    second = elsewhere(first, "second")
    ingest(second, num_workers=3)
    assert content_of(first) == content_of(second)


def test_what_left_the_folder_leaves_the_cache_and_the_disk(site: SiteConfig) -> None:
    ingest(site)
    gone = files_of(site)[3]
    image = read_file(gone, image_size=SIZE, policy=ReadPolicy()).image.tobytes()  # type: ignore[union-attr]
    assert holds(site, image)
    gone.unlink()
    done = ingest(site)
    assert (done.num_read, done.num_gone) == (0, 1)
    assert done.tally.num_usable == 11
    assert not holds(site, image)
    verify_cache(cache_path(site))


def holds(site: SiteConfig, content: bytes) -> bool:
    return any(content in p.read_bytes() for p in cache_path(site).rglob("*") if p.is_file())


def test_a_changed_file_is_read_again(site: SiteConfig) -> None:
    ingest(site)
    path = files_of(site)[0]
    radiograph = dcmread(path)
    radiograph.PatientAge = "033Y"
    radiograph.save_as(path)
    assert ingest(site).num_read == 1
    assert 33.0 in open_cache_of(site).rows[:, 0]


def test_new_labels_need_no_reading(site: SiteConfig) -> None:
    ingest(site)
    assert site.labels_path is not None
    lines = site.labels_path.read_text().splitlines()
    site.labels_path.write_text("\n".join(lines[:5]))
    done = ingest(site)
    assert done.num_read == 0
    assert done.tally.num_labelled == 4
    without = ingest(replace(site, labels_path=None, findings=("edema",)))
    assert (without.num_read, without.tally.num_labelled) == (0, 0)
    assert not open_cache_of(site).rows[:, -1].any()


def test_other_settings_or_the_wish_have_everything_read_anew(site: SiteConfig) -> None:
    ingest(site)
    before = content_of(site)
    assert ingest(replace(site, image_size=16)).num_read == 18
    assert open_cache_of(site).image_size == 16
    assert ingest(site).num_read == 18
    assert content_of(site) == before
    assert ingest(site, rebuild=True).num_read == 18
    assert content_of(site) == before
    assert len(list(cache_path(site).glob("stock-*"))) == 1


def test_another_hospital_with_the_same_files_has_other_keys_and_another_order(
    site: SiteConfig,
) -> None:
    ingest(site)
    second = replace(site, state_path=site.state_path.with_name("second"))
    ingest(second)
    first, other = open_cache_of(site), open_cache_of(second)
    assert not set(first.patients.tolist()) & set(other.patients.tolist())
    assert not np.array_equal(first.images[:], other.images[:])


def test_a_copy_under_another_identifier_is_a_duplicate_until_the_first_is_gone(
    site: SiteConfig,
) -> None:
    path = files_of(site)[7]
    radiograph = dcmread(path)
    radiograph.SOPInstanceUID = UID("1.2.3")
    radiograph.save_as(path.parents[1] / "migrated.dcm")
    tally = ingest(site).tally
    assert (tally.num_usable, tally.refused[Reason.DUPLICATE]) == (12, 2)
    path.unlink()
    done = ingest(site)
    assert (done.tally.num_usable, done.tally.refused[Reason.DUPLICATE]) == (12, 1)
    assert done.num_read == 0


def test_files_without_identifiers_are_one_patient_that_is_never_held_out(
    site: SiteConfig,
) -> None:
    assert site.data_path is not None
    shutil.rmtree(site.data_path / "other")
    for path in files_of(site):
        radiograph = dcmread(path)
        radiograph.PatientID = radiograph.SOPInstanceUID = ""
        radiograph.save_as(path)
    tally = ingest(site).tally
    assert (tally.num_usable, tally.num_patients, tally.num_held_out) == (12, 1, 0)


def test_patients_are_held_out_whole_and_about_one_in_ten(
    site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.intake.selection.HELD_OUT_ONE_IN", 3)  # the hospital is small
    ingest(site)
    records = open_cache_of(site)
    for patient in set(records.patients.tolist()):
        of_patient = records.held_out[records.patients == patient]
        assert set(of_patient.tolist()) == {patient % 3 == 0}
    assert records.tally.num_held_out == records.held_out.sum()


def patient_of(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).PatientID)


def test_patients_who_opt_out_are_counted_and_their_pixels_leave(site: SiteConfig) -> None:
    ingest(site)
    objecting = patient_of(files_of(site)[0])
    theirs = [path for path in files_of(site) if patient_of(path) == objecting]
    policy = ReadPolicy()
    images = [read_file(p, image_size=SIZE, policy=policy).image.tobytes() for p in theirs]  # type: ignore[union-attr]
    listed = site.state_path.with_name("opt-out.txt")
    listed.write_text(f"# patients who objected\n\n  {objecting}  # since Monday\nnobody\n")
    careful = replace(site, opt_out_path=listed)
    num_opted_out = 0
    for number, place in enumerate((careful, elsewhere(careful, "from-the-start"))):
        done = ingest(place)
        num_opted_out = done.tally.refused[Reason.OPTED_OUT]
        assert done.num_read == 18 * number
        assert num_opted_out >= len(theirs)
        assert not any(holds(place, image) for image in images)
        assert ingest(place).num_read == 0
    back = ingest(site)
    assert back.tally.num_usable == 12
    assert back.num_read == num_opted_out


def test_if_everybody_opts_out_there_is_no_cache_any_more(site: SiteConfig) -> None:
    ingest(site)
    listed = site.state_path.with_name("opt-out.txt")
    listed.write_text("\n".join(patient_of(path) for path in files_of(site)))
    with pytest.raises(NoUsableRadiograph, match="of patients who opted out"):
        ingest(replace(site, opt_out_path=listed))
    with pytest.raises(CacheMissing):
        open_cache_of(site)


def test_progress_is_told_file_by_file(site: SiteConfig) -> None:
    told: list[tuple[int, int]] = []
    ingest(site, on_progress=lambda done, total: told.append((done, total)))
    assert sorted(set(told)) == [(number, 18) for number in range(1, 19)]


def test_a_folder_without_radiographs_keeps_the_old_cache_and_what_was_read(
    site: SiteConfig,
) -> None:
    assert site.data_path is not None
    assert site.labels_path is not None
    shutil.copy(site.labels_path, site.data_path / "other" / "004.dcm")  # was a copy of a good one
    ingest(site)
    before = content_of(site)
    (site.data_path / "000").rename(site.data_path.parent / "unmounted")
    with pytest.raises(NoUsableRadiograph, match="0 of 6 usable: 3 not DICOM") as raised:
        ingest(site)
    assert ".dcm" not in str(raised.value)
    assert content_of(site) == before
    (site.data_path.parent / "unmounted").rename(site.data_path / "000")
    assert ingest(site).num_read == 0


def test_mistakes_in_the_configuration_are_named_and_cost_nothing(site: SiteConfig) -> None:
    ingest(site)
    before = content_of(site)
    nowhere = site.state_path / "nowhere"
    mistakes: list[tuple[dict[str, Path], type[Exception]]] = [
        ({"labels_path": nowhere}, LabelsUnusable),
        ({"opt_out_path": nowhere}, OptOutUnusable),
        ({"data_path": nowhere}, DataFolderMissing),
    ]
    for change, error in mistakes:
        with pytest.raises(error) as raised:
            ingest(replace(site, **change))  # type: ignore[arg-type]
        assert len(str(raised.value).splitlines()) == 1
    assert content_of(site) == before


def test_every_setting_that_changes_what_is_read_changes_the_digest(tmp_path: Path) -> None:
    site, terms = site_of(tmp_path), load_report_terms("report_terms")
    frontal = replace(site, reading=ReadPolicy(views=("PA",)))
    digests = {
        settings_digest(site, bytes(32), terms),
        settings_digest(replace(site, image_size=16), bytes(32), terms),
        settings_digest(frontal, bytes(32), terms),
        settings_digest(site, bytes([1] * 32), terms),
        settings_digest(site, bytes(32), replace(terms, doubt=Cues())),
    }
    assert len(digests) == 5
    other_labels = replace(site, findings=("edema",), labels_path=None)
    assert settings_digest(other_labels, bytes(32), terms) in digests

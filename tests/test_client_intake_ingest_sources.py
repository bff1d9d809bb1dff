"""What sources offer, lose, hold back and take away, and what of it the cache holds."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

import client.cache.shards
import client.intake.ingest
from client.cache.layout import cache_path
from client.cache.records import open_cache_of, verify_cache
from client.cache.stock import NotThereTwice
from client.config import SiteConfig
from client.dicom.outcome import Flag, Identity, Outcome, Radiograph, Report
from client.dicom.rejection import Reason, Rejection
from client.intake.ingest import Ingested, NoUsableRadiograph, ingest_from
from client.labels.table import LabelProblem
from client.sources.item import Item, ItemLost, SourceFailed
from model.conditioning import FINDING_STATES, Metadata, Schema

SIZE = 8
FINDINGS = ("edema", "pneumothorax", "fracture")
Outcomes = dict[str, Outcome]
MAPPING = """\
key: {kind: KIND, columns: [it]}
columns: {codes: {"0": absent, "1": present}, blank: not_mentioned, own_names: true}
"""


@dataclass
class Shelf:
    """A source that holds outcomes, as if they were files."""

    contents: Outcomes
    origin: str = "shelf"
    mirrored: bool = True
    fails: bool = False
    lost: set[str] = field(default_factory=set)
    refused: dict[str, Reason] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    removed_on_settling: bool = False

    def items(self) -> Iterator[Item]:
        """By name; an outcome that is another object is another version."""
        if self.fails:
            raise SourceFailed("The PACS does not answer.")
        for name, outcome in self.contents.items():
            yield Item(name=name, version=str(id(outcome)), labelled_as=name.split("/")[-1])
        for name, reason in self.refused.items():
            yield Item(name=name, version="", refused=reason)

    def file_of(self, item: Item, scratch: Path) -> Path:
        """A file that names the outcome."""
        if item.name in self.lost:
            raise ItemLost("gone")
        self.fetched.append(item.name)
        path = scratch / f"{self.origin}|{item.name.replace('/', '|')}"
        path.write_text(item.name)
        CONTENTS[str(path)] = self.contents[item.name]
        return path

    def settled(self, item: Item) -> None:
        """A received file goes."""
        if self.removed_on_settling:
            self.contents.pop(item.name, None)


CONTENTS: dict[str, Outcome] = {}


def read_shelf(
    jobs: Iterator[tuple[object, Path]], **_: object
) -> Generator[tuple[object, Outcome], None, None]:
    for job, path in jobs:
        assert path.exists()
        yield job, CONTENTS[str(path)]
        assert not path.exists()


@pytest.fixture
def site(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteConfig:
    monkeypatch.setattr(client.intake.ingest, "read_all", read_shelf)
    monkeypatch.setattr(client.cache.shards, "MAX_RECORDS", 4)
    return SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=memory_path / "ca.crt",
        data_path=memory_path / "nowhere",
        state_path=memory_path / "state",
        image_size=SIZE,
        findings=FINDINGS,
    )


def picture(number: int, **identity: str) -> Radiograph:
    """A radiograph of noise, of its own study and patient."""
    names = {"study_uid": f"2.{number}", "accession": f"A{number}", "patient_id": f"P{number}"}
    return Radiograph(
        image=np.random.default_rng(number).integers(0, 2**16, (SIZE, SIZE), np.uint16),
        metadata=Metadata(
            age=float(number), sex="F", view="PA", race=None, site=None, manufacturer=1, findings={}
        ),
        identity=Identity(**{"instance_uid": f"1.{number}", "issuer": "", **names, **identity}),
        pixel_digest=f"{number:>32}".encode(),
    )


def report(text: str, **identity: str) -> Report:
    nobody = {"instance_uid": "9", "study_uid": "", "accession": "", "patient_id": "", "issuer": ""}
    return Report(identity=Identity(**{**nobody, **identity}), statements=(text,))


def shelf(*numbers: int) -> Shelf:
    return Shelf({str(number): picture(number) for number in numbers})


def ages_of(site: SiteConfig) -> set[float]:
    return set(open_cache_of(site).rows[:, 0].tolist())


def states_of(site: SiteConfig) -> dict[float, dict[str, str]]:
    """Age, which tells the pictures apart here -> finding -> state."""
    records = open_cache_of(site)
    columns = Schema(FINDINGS).names[-len(FINDINGS) :]
    return {
        float(row[0]): {
            name: FINDING_STATES[int(number) - 1]
            for name, number in zip(columns, row[-len(FINDINGS) :], strict=True)
            if number
        }
        for row in records.rows
    }


def ingested(site: SiteConfig, *sources: Shelf, rebuild: bool = False) -> Ingested:
    return ingest_from(sources, site, rebuild=rebuild)


def test_items_of_several_sources_come_together_and_only_what_is_new_is_fetched(
    site: SiteConfig,
) -> None:
    folder, pacs = shelf(1, 2, 3), shelf(3, 4)
    pacs.origin = "pacs"
    done = ingested(site, folder, pacs)
    assert (done.tally.num_files, done.tally.num_usable) == (5, 4)
    assert done.tally.refused == {Reason.DUPLICATE: 1}
    folder.contents["9"], folder.fetched, pacs.fetched = picture(9), [], []
    assert ingested(site, folder, pacs).num_read == 1
    assert (folder.fetched, pacs.fetched) == (["9"], [])
    assert ages_of(site) == {1.0, 2.0, 3.0, 4.0, 9.0}


def test_a_source_that_is_no_longer_configured_takes_its_records_along(site: SiteConfig) -> None:
    pacs = shelf(4, 5)
    pacs.origin = "pacs"
    ingested(site, shelf(1), pacs)
    assert ingested(site, shelf(1)).num_gone == 2
    assert ages_of(site) == {1.0}


def test_a_source_that_fails_leaves_everything_as_it_was(site: SiteConfig) -> None:
    folder, pacs = shelf(1, 2), shelf(3)
    pacs.origin = "pacs"
    ingested(site, folder, pacs)
    pacs.fails, folder.contents = True, {"5": picture(5)}
    with pytest.raises(SourceFailed, match="does not answer"):
        ingested(site, folder, pacs)
    assert ages_of(site) == {1.0, 2.0, 3.0}
    verify_cache(cache_path(site))
    pacs.fails = False
    ingested(site, folder, pacs)
    assert ages_of(site) == {3.0, 5.0}


def test_a_source_that_fails_on_the_way_keeps_what_was_read_for_the_next_time(
    site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shelf(*range(20))
    fetch = Shelf.file_of

    def fetch_half(self: Shelf, item: Item, scratch: Path) -> Path:
        if item.name == "13":
            raise SourceFailed("The PACS does not answer.")
        return fetch(self, item, scratch)

    monkeypatch.setattr(Shelf, "file_of", fetch_half)
    with pytest.raises(SourceFailed):
        ingested(site, folder)
    monkeypatch.setattr(Shelf, "file_of", fetch)
    assert ingested(site, folder).num_read == 20 - 13


def test_what_is_lost_on_the_way_is_counted_and_asked_for_again(site: SiteConfig) -> None:
    pacs = shelf(1, 2, 3)
    pacs.lost = {"2"}
    done = ingested(site, pacs)
    assert str(done.tally) == "2 of 3 usable: 1 not delivered by the PACS"
    assert done.num_read == 2
    pacs.lost = set()
    assert str(ingested(site, pacs).tally) == "3 of 3 usable"


def test_a_record_outlives_a_new_version_of_its_item_that_is_lost(site: SiteConfig) -> None:
    pacs = shelf(1, 2)
    ingested(site, pacs)
    pacs.contents["2"], pacs.lost = picture(7), {"2"}
    assert str(ingested(site, pacs).tally) == "2 of 2 usable"
    assert ages_of(site) == {1.0, 2.0}
    pacs.lost = set()
    ingested(site, pacs)
    assert ages_of(site) == {1.0, 7.0}


def test_what_a_source_refuses_is_counted_without_being_fetched(site: SiteConfig) -> None:
    folder = shelf(1)
    folder.refused = {"link": Reason.OUTSIDE_LINK}
    done = ingested(site, folder)
    assert str(done.tally) == "1 of 2 usable: 1 behind a link that leaves the folder"
    assert folder.fetched == ["1"]
    folder.refused = {"link": Reason.UNREADABLE}
    assert ingested(site, folder).tally.refused == {Reason.UNREADABLE: 1}


def received(*numbers: int) -> Shelf:
    spool = shelf(*numbers)
    spool.origin, spool.mirrored, spool.removed_on_settling = "received", False, True
    return spool


def test_received_files_go_once_they_are_kept_and_their_records_stay(site: SiteConfig) -> None:
    spool = received(1, 2)
    spool.contents["3"] = Rejection(reason=Reason.NOT_CHEST)
    ingested(site, spool)
    assert spool.contents == {}
    spool.contents = {"4": picture(4)}
    done = ingested(site, spool)
    assert str(done.tally) == "3 of 4 usable: 1 not a chest"
    assert ages_of(site) == {1.0, 2.0, 4.0}


def test_a_received_file_that_was_kept_by_a_killed_ingest_goes_at_the_next(
    site: SiteConfig,
) -> None:
    spool = received(1)
    spool.removed_on_settling = False
    ingested(site, spool)
    spool.removed_on_settling = True
    assert ingested(site, spool).num_read == 0
    assert spool.contents == {}


def test_what_cannot_be_read_again_is_not_given_up_unless_it_is_wished(site: SiteConfig) -> None:
    ingested(site, received(1, 2), shelf(3))
    other = replace(site, reading=replace(site.reading, min_age=2))
    with pytest.raises(NotThereTwice, match="2 files that a PACS had sent") as raised:
        ingested(other, shelf(3))
    assert "--rebuild" in str(raised.value)
    assert ages_of(site) == {1.0, 2.0, 3.0}
    done = ingested(other, shelf(3), rebuild=True)
    assert "2 that a PACS had sent are lost: have it send them again" in str(done)
    assert ages_of(site) == {3.0}
    assert ingested(other, shelf(3)).num_to_be_sent == 0


def test_reports_speak_of_their_study_else_of_their_accession_number_and_of_no_other_patient(
    site: SiteConfig,
) -> None:
    contents: Outcomes = {str(number): picture(number) for number in range(1, 5)}
    contents["study"] = report("There is pulmonary edema.", study_uid="2.1", patient_id="P1")
    contents["accession"] = report("Pneumothorax on the left.", accession="A2", study_uid="other")
    contents["stranger"] = report("Pneumothorax.", study_uid="2.3", patient_id="P1")
    done = ingested(site, Shelf(contents))
    assert str(done.tally) == "4 of 7 usable; 3 reports"
    assert (done.tally.num_reports, done.tally.num_labelled) == (3, 2)
    states = states_of(site)
    assert states[1.0]["edema"] == states[2.0]["pneumothorax"] == "present"
    assert states[1.0]["pneumothorax"] == states[2.0]["edema"] == "not_mentioned"
    assert states[3.0] == states[4.0] == {}


def test_labels_outweigh_reports_and_conflicts_are_counted(
    site: SiteConfig, memory_path: Path
) -> None:
    labels = memory_path / "labels.csv"
    labels.write_text("study_instance_uid,edema,pneumothorax,fracture\n2.1,0,,1\n")
    text = "There is pulmonary edema. There is a pneumothorax. No fracture."
    contents: Outcomes = {"1": picture(1), "2": report(text, study_uid="2.1")}
    tally = ingested(replace(site, labels_path=labels), Shelf(contents)).tally
    states = {"edema": "absent", "pneumothorax": "present", "fracture": "present"}
    assert states_of(site) == {1.0: states}
    assert tally.label_problems == {LabelProblem.CONFLICT: 2}


def test_reports_that_dispute_a_finding_leave_it_unknown(site: SiteConfig) -> None:
    contents: Outcomes = {
        "1": picture(1),
        "2": report("Pneumothorax. No edema.", study_uid="2.1"),
        "3": report("No pneumothorax. No edema.", study_uid="2.1"),
    }
    tally = ingested(site, Shelf(contents)).tally
    assert states_of(site)[1.0] == {"edema": "absent", "fracture": "not_mentioned"}
    assert tally.label_problems == {LabelProblem.CONFLICT: 1}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("study", "2.1"), ("accession", "A1"), ("instance", "1.1"), ("patient", "P1"), ("file", "1")],
)
def test_a_table_names_its_rows_by_what_its_mapping_says(
    site: SiteConfig, memory_path: Path, kind: str, name: str
) -> None:
    labels, mapping = memory_path / "labels.csv", memory_path / "mapping.yaml"
    labels.write_text(f"it,edema\n{name},1\n,0\n")
    mapping.write_text(MAPPING.replace("KIND", kind))
    ingested(replace(site, labels_path=labels, label_mapping=str(mapping)), shelf(1, 2))
    assert states_of(site) == {1.0: {"edema": "present"}, 2.0: {}}


def test_a_table_may_name_pictures_by_file_and_of_copies_the_named_one_counts(
    site: SiteConfig, memory_path: Path
) -> None:
    labels = memory_path / "labels.csv"
    labels.write_text("Image Index,Finding Labels,Follow-up #\nb.png,Edema,0\n")
    copy = picture(1)
    contents: Outcomes = {f"set/{name}": copy for name in ("a.dcm", "b.dcm", "c.dcm")}
    named = replace(site, labels_path=labels, label_mapping="nih")
    tally = ingested(named, Shelf({**contents, "d.dcm": picture(2)})).tally
    assert (tally.num_usable, tally.num_labelled) == (2, 1)
    assert states_of(site)[1.0]["edema"] == "present"


def test_flags_of_what_is_used_are_counted(site: SiteConfig) -> None:
    contents: Outcomes = {
        "1": replace(picture(1), flags=frozenset({Flag.LOSSY, Flag.NO_VIEW})),
        "2": replace(picture(2), flags=frozenset({Flag.LOSSY})),
        "copy": replace(picture(2), flags=frozenset({Flag.LOSSY})),
    }
    tally = ingested(site, Shelf(contents)).tally
    assert tally.flags == {Flag.LOSSY: 2, Flag.NO_VIEW: 1}
    assert open_cache_of(site).tally == tally


def test_near_duplicates_are_dropped_but_for_the_first_and_looked_for_once(
    site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def all_but_the_first(images: object, patients: object) -> object:
        looks.append(len(patients))  # type: ignore[arg-type]
        assert images[0].shape == (SIZE, SIZE)  # type: ignore[index]
        return np.arange(len(patients)) > 0  # type: ignore[arg-type]

    monkeypatch.setattr("client.intake.publication.find_near_duplicates", all_but_the_first)
    tally = ingested(site, shelf(1, 2, 3)).tally
    assert str(tally) == "1 of 3 usable: 2 near-duplicates"
    before = ages_of(site)
    assert ingested(site, shelf(3, 2, 1)).tally == tally
    assert ages_of(site) == before
    assert looks == [3]


def test_without_any_usable_radiograph_nothing_is_made(site: SiteConfig) -> None:
    with pytest.raises(NoUsableRadiograph, match="0 of 1 usable"):
        ingested(site, Shelf({"1": Rejection(reason=Reason.BLANK)}))
    with pytest.raises(NoUsableRadiograph, match="1 report"):
        ingested(site, Shelf({"1": report("Normal.")}))

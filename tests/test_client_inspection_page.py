"""The page a hospital looks at its cache on: one private file, its numbers the cache's, nobody named."""

import csv
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from client.cache.images import Images
from client.cache.layout import cache_path
from client.cache.records import Records, open_cache_of
from client.cache.writer import cache_lock
from client.config import SiteConfig, load_site
from client.dicom.outcome import Flag
from client.dicom.rejection import Reason
from client.inspection.advice import FLAGS, LABEL_PROBLEMS, REFUSALS
from client.inspection.facts import count
from client.inspection.page import inspect, write_page
from client.inspection.record_of_reading import flags_of_records, write_refused_list
from client.intake.ingest import ingest
from client.labels.table import LabelProblem
from client.tally import Tally
from model.conditioning import FINDINGS
from simulation.hospitals import example_sites
from simulation.phantom_sites import write_phantom_site

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
NUM_SHARP, NUM_ENLARGED, NUM_BROKEN = 6, 4, 5


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital with ten radiographs, four of them smaller than the cache, and ten broken files."""
    folder = tmp_path_factory.mktemp("hospital")
    sharp, enlarged = (
        replace(site, num_records=count, num_broken=NUM_BROKEN)
        for site, count in zip(
            example_sites(2, num_records=1, seed=4), (NUM_SHARP, NUM_ENLARGED), strict=True
        )
    )
    write_phantom_site(folder / "sharp", sharp, FINDINGS, 64)
    write_phantom_site(folder / "enlarged", enlarged, FINDINGS, 32)
    (folder / "data").mkdir()
    for name in ("sharp", "enlarged"):
        (folder / name / "dicom").rename(folder / "data" / name)
    profile = folder / "site.yaml"
    profile.write_text(
        'site_name: a\ncoordinator: "localhost:1"\nca_path: ca.crt\ndata_path: data\n'
        "labels_path: sharp/labels.csv\nstate_path: state\nimage_size: 64\n"
    )
    ingest(load_site(profile), num_workers=1)
    return profile


@pytest.fixture(scope="module")
def site(profile: Path) -> SiteConfig:
    return load_site(profile)


@pytest.fixture(scope="module")
def page(site: SiteConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out") / "page.html"
    write_page(inspect(site), path, seed=0)
    return path


class Parts(HTMLParser):
    """Every tag, the texts of pictures, and everything the page would load or lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember."""
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "srcset"}]
        self.pictures += [dict(attrs)["alt"] or ""] if tag == "img" else []


def test_the_page_is_complete_in_itself_and_private(page: Path) -> None:
    text = page.read_text()
    parts = Parts(text)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert not {"script", "link", "iframe", "form", "a"} & set(parts.tags)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert all(load.startswith("data:image/png;base64,") for load in parts.loads)
    assert "must stay in the hospital" in text


def test_every_radiograph_is_shown_once_and_those_with_a_flag_once_more(page: Path) -> None:
    pictures = Parts(page.read_text()).pictures
    assert len([text for text in pictures if "at random" in text]) == NUM_SHARP + NUM_ENLARGED
    assert len([text for text in pictures if "low resolution" in text]) == NUM_ENLARGED


def test_the_flags_are_those_of_the_records(site: SiteConfig) -> None:
    records = open_cache_of(site)
    flags = flags_of_records(site, records)
    enlarged = flags >> np.uint32(list(Flag).index(Flag.LOW_RESOLUTION)) & np.uint32(1)
    manufacturer = records.rows[:, 5]
    assert len(np.unique(manufacturer)) == 2
    for number in np.unique(manufacturer):
        assert len(np.unique(enlarged[manufacturer == number])) == 1
    assert int(enlarged.sum()) == NUM_ENLARGED == records.tally.flags[Flag.LOW_RESOLUTION]


def test_no_identifier_and_no_file_name_is_on_the_page(page: Path, site: SiteConfig) -> None:
    assert site.data_path is not None
    text = page.read_text()
    for file in site.data_path.rglob("*.dcm"):
        assert file.name not in text
        if file.parent.name != "other":
            header = dcmread(file, stop_before_pixels=True)
            for planted in (header.PatientID, header.StudyInstanceUID, header.InstitutionName):
                assert str(planted) not in text


def test_the_page_says_what_the_tally_says(page: Path, site: SiteConfig) -> None:
    text, tally = page.read_text(), open_cache_of(site).tally
    assert str(tally) in text
    assert tally.refused
    for reason, number in tally.refused.items():
        assert REFUSALS[reason].meaning in text
        assert f'<td class="number">{number}</td><td>{REFUSALS[reason].meaning}' in text


def test_the_counts_are_those_of_the_records() -> None:
    rows = np.zeros((4, 7), np.float32)
    rows[:, 0] = [np.nan, 9.9, 10.0, 90.0]
    rows[:, 1] = [0, 1, 2, 2]
    rows[:, 6] = [0, 2, 2, 4]
    records = Records(
        images=Images([], np.zeros((4, 2), np.uint32), 64),
        rows=rows,
        patients=np.array([5, 5, 5, 6], np.uint64),
        held_out=np.array([False, False, False, True]),
        findings=("edema",),
        tally=Tally(num_files=4, num_usable=4, refused={}, num_patients=2, num_held_out=1),
    )
    facts = count(records)
    ages, sexes = facts.attributes["age"], facts.attributes["sex"]
    assert {age: number for age, number in ages.items() if number} == {
        "0-9": 1,
        "10-19": 1,
        "90+": 1,
        "unknown": 1,
    }
    assert sexes == {"F": 1, "M": 2, "unknown": 1}
    assert facts.findings["edema"] == {
        "absent": 0,
        "present": 2,
        "uncertain": 0,
        "not_mentioned": 1,
        "unknown": 1,
    }
    assert facts.per_patient == {"1": 1, "2": 0, "3-5": 1, "6-10": 0, "11+": 0}
    assert (facts.num_patients, facts.num_held_out) == (2, 1)


def test_while_an_ingest_runs_the_page_says_why_it_shows_no_flagged_ones(
    site: SiteConfig, tmp_path: Path
) -> None:
    with cache_lock(cache_path(site)):
        write_page(inspect(site), tmp_path / "page.html", seed=0)
    text = (tmp_path / "page.html").read_text()
    assert "An ingest is under way." in text
    assert not [alt for alt in Parts(text).pictures if "low resolution" in alt]


def test_the_refused_list_names_every_refused_file_and_only_those(
    site: SiteConfig, tmp_path: Path
) -> None:
    path = tmp_path / "refused.csv"
    num_refused = write_refused_list(site, path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    tally = open_cache_of(site).tally
    expected = {reason: n for reason, n in tally.refused.items() if reason != Reason.DUPLICATE}
    assert len(rows) == num_refused == sum(expected.values())
    assert site.data_path is not None
    for row in rows:
        assert (site.data_path / row["name"]).is_file()
        assert "other" in Path(row["name"]).parts
    assert {Reason(row["reason"]) for row in rows} == set(expected)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_everything_that_can_be_said_has_a_meaning_and_a_remedy() -> None:
    for codes, advice in ((Reason, REFUSALS), (Flag, FLAGS), (LabelProblem, LABEL_PROBLEMS)):
        assert set(codes) == set(advice)


def test_the_command_writes_the_page_and_json_the_same_counts(
    fedcxr: Command, profile: Path, tmp_path: Path
) -> None:
    code, out, err = fedcxr("hospital", "inspect", profile, "-o", tmp_path / "page.html")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"page: {tmp_path / 'page.html'}"
    code, out, err = fedcxr("hospital", "inspect", profile, "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["num_records"] == facts["tally"]["num_usable"] == NUM_SHARP + NUM_ENLARGED
    assert facts["cache"]["encrypted"] is False
    assert sum(facts["attributes"]["view"].values()) == facts["num_records"]


def test_the_same_seed_makes_the_same_page(site: SiteConfig, page: Path, tmp_path: Path) -> None:
    write_page(inspect(site), tmp_path / "again.html", seed=0)
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_without_a_cache_there_is_one_sentence(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        'site_name: a\ncoordinator: "localhost:1"\nca_path: ca.crt\ndata_path: data\n'
        "state_path: state\nimage_size: 64\n"
    )
    message = refused("hospital", "inspect", tmp_path / "site.yaml")
    assert message.startswith("There is no cache of radiographs in ")
    assert len(message.splitlines()) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["site.yaml"]

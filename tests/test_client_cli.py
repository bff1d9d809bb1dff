"""The hospital's commands: what they say of good data, and of each mistake without a file's name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from client.control.running import LOCK_NAME
from client.node_status import NodeStatus, write_status
from client.supernode import STATUS_NAME
from federation.files import hold_lock
from simulation.hospitals import example_sites
from simulation.phantom_sites import write_phantom_site

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
FINDINGS = ("edema", "fracture")
PROFILE = """\
site_name: a
coordinator: "localhost:1"
ca_path: ca.crt
data_path: data/dicom
state_path: state
image_size: 32
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A hospital's profile beside an empty data folder."""
    (tmp_path / "data" / "dicom").mkdir(parents=True)
    path = tmp_path / "site.yaml"
    path.write_text(PROFILE)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of one small hospital: four usable radiographs and six broken files."""
    folder = tmp_path_factory.mktemp("archive")
    (site,) = example_sites(1, num_records=4, seed=1)
    write_phantom_site(folder, site, FINDINGS, 32)
    return folder


def test_ingest_counts_what_is_usable_and_what_is_not(
    fedcxr: Command, profile: Path, archive: Path
) -> None:
    profile.write_text(
        PROFILE.replace("data/dicom", str(archive / "dicom"))
        + f"labels_path: {archive / 'labels.csv'}\n"
    )
    code, out, err = fedcxr("hospital", "ingest", profile)
    assert (code, err) == (0, "")
    assert out.startswith("4 of 10 usable: ")
    assert out.splitlines()[1] == "10 read this time, 0 no longer there"
    code, out, err = fedcxr("hospital", "ingest", profile, "--json")
    (line,) = out.splitlines()
    facts = json.loads(line)
    assert (code, err) == (0, "")
    assert (facts["num_usable"], facts["num_files"], facts["num_labelled"]) == (4, 10, 4)
    assert sum(facts["refused"].values()) == 6
    assert (facts["num_read"], facts["num_gone"]) == (0, 0)
    code, out, err = fedcxr("hospital", "ingest", profile, "--rebuild", "--workers", 1, "--json")
    assert json.loads(out)["num_read"] == 10


def test_a_key_that_is_not_there_is_refused_with_what_makes_one(
    refused: Refused, profile: Path
) -> None:
    profile.write_text(PROFILE + "cache_key_path: cache.key\n")
    message = refused("hospital", "ingest", profile)
    assert "there is no such file" in message
    assert "openssl rand -hex 32" in message
    assert len(message.splitlines()) == 1


def test_an_unknown_key_in_a_profile_is_named(refused: Refused, profile: Path) -> None:
    profile.write_text(PROFILE + "share_count: true\n")
    for command in ("ingest", "up", "status"):
        message = refused("hospital", command, profile)
        assert message.splitlines()[0] == f"{profile} cannot be used:"
        assert message.splitlines()[1:] == ["  share_count: Unexpected keyword argument"]


def test_a_missing_profile_is_refused(refused: Refused, tmp_path: Path) -> None:
    assert "site.yaml cannot be read" in refused("hospital", "ingest", tmp_path / "site.yaml")


def test_a_missing_data_folder_is_refused(refused: Refused, profile: Path) -> None:
    (profile.parent / "data" / "dicom").rmdir()
    message = refused("hospital", "ingest", profile)
    assert "is not a folder that this user can open" in message
    assert len(message.splitlines()) == 1


def test_a_folder_without_a_usable_radiograph_is_refused_and_no_file_in_it_is_named(
    refused: Refused, profile: Path
) -> None:
    for name in ("Miller_Anna_1950.dcm", "notes.txt"):
        (profile.parent / "data" / "dicom" / name).write_text("Anna Miller")
    message = refused("hospital", "ingest", profile)
    assert "0 of 2 usable: 2 not DICOM" in message
    assert "iller" not in message
    assert "notes" not in message
    assert len(message.splitlines()) == 1


def test_missing_labels_are_refused(refused: Refused, profile: Path) -> None:
    profile.write_text(PROFILE + "labels_path: labels.csv\n")
    assert "there is no such file" in refused("hospital", "ingest", profile)


def test_a_state_folder_that_is_a_file_is_refused(
    refused: Refused, profile: Path, archive: Path
) -> None:
    profile.write_text(PROFILE.replace("data/dicom", str(archive / "dicom")))
    (profile.parent / "state").touch()
    assert "state" in refused("hospital", "ingest", profile)
    assert "cannot be used" in refused("hospital", "up", profile)


def test_status_of_a_hospital_that_is_not_connected_ends_with_1(
    fedcxr: Command, profile: Path
) -> None:
    assert fedcxr("hospital", "status", profile) == (1, "a: stopped\n", "")
    code, out, _ = fedcxr("hospital", "status", profile, "--json")
    assert code == 1
    assert [json.loads(line) for line in out.splitlines()] == [{"site": "a", "state": "stopped"}]


def test_status_of_a_registered_hospital_ends_with_0(fedcxr: Command, profile: Path) -> None:
    state = profile.parent / "state"
    with hold_lock(state / LOCK_NAME):
        write_status(state / STATUS_NAME, NodeStatus.UNADMITTED)
        assert fedcxr("hospital", "status", profile) == (1, "a: waiting\n", "")
        write_status(state / STATUS_NAME, NodeStatus.REGISTERED)
        assert fedcxr("hospital", "status", profile) == (0, "a: registered\n", "")


def test_a_second_process_for_the_same_hospital_is_refused(refused: Refused, profile: Path) -> None:
    with hold_lock(profile.parent / "state" / LOCK_NAME):
        assert "is in use by a running fedcxr process" in refused("hospital", "up", profile)

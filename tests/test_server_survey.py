"""A study that cannot be read is named by whatever lists studies, and hides none of the others."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from federation.diagnosis import Verdict
from federation.files import hold_lock
from federation.metrics import text_of
from server.doctor import standing
from server.doctor.coordinator import coordinator_of
from server.endpoint import LOCK_NAME, write_endpoint
from server.metrics import CoordinatorMetrics
from server.registry.models import UnknownModel, model_named
from server.store import StudyStore
from server.survey import DamagedStudy, survey
from server.watch import UnknownStudy, study_named
from tests.browser.coordinator import make_private, make_record, served_console
from tests.browser.served import visiting

Command = Callable[..., tuple[int, str, str]]


def cut_short(folder: Path) -> None:
    path = folder / "study.json"
    path.write_text(path.read_text()[:100])


def gone(folder: Path) -> None:
    (folder / "study.json").unlink()


def no_text(folder: Path) -> None:
    (folder / "study.json").write_bytes(b"\xff\x00" * 50)


def of_a_later_release(folder: Path) -> None:
    path = folder / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weather": "fine"}))


def unreadable(folder: Path) -> None:
    gone(folder)
    (folder / "study.json").mkdir()


def record_gone(folder: Path) -> None:
    (folder / "study.db").write_bytes(b"")


def record_damaged(folder: Path) -> None:
    (folder / "study.db").write_bytes(b"no database at all, however long one looks at it" * 100)


def record_of_a_later_release(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "study.db")) as connection, connection:
        connection.execute("ALTER TABLE rounds ADD COLUMN weather TEXT")


DAMAGES: dict[Callable[[Path], None], tuple[str, str]] = {
    cut_short: ("its study.json is damaged", "types `fedcxr coordinator run STUDY.yaml --state"),
    gone: ("its study.json is gone", "types `fedcxr coordinator run STUDY.yaml --state"),
    no_text: ("its study.json is damaged", "types `fedcxr coordinator run STUDY.yaml --state"),
    of_a_later_release: ("its study.json is not one of this release", "types `mv "),
    unreadable: ("a file of it cannot be opened (Is a directory)", "types `ls -l "),
    record_gone: ("study.db gives no answer", "types `fedcxr coordinator doctor --state"),
    record_damaged: ("study.db gives no answer", "types `fedcxr coordinator doctor --state"),
    record_of_a_later_release: ("its study.db is not one of this release", "types `mv "),
}


@pytest.fixture
def sound(memory_path: Path) -> StudyStore:
    return make_record(memory_path)


@pytest.fixture
def damaged(sound: StudyStore) -> Path:
    """The folder of a study beside the sound one; what is to be damaged is left to the test."""
    return make_private(sound.folder.parent.parent).folder


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_study_is_named_with_whose_job_it_is_and_what_to_type(
    damage: Callable[[Path], None], sound: StudyStore, damaged: Path, memory_path: Path
) -> None:
    damage(damaged)
    names, found = survey(memory_path, lambda store: (store.study.name, len(store.rounds())))
    assert names == [(sound.study.name, 5)]
    (sentence,) = map(str, found)
    assert sentence.startswith(f"study {damaged.name} cannot be read: ")
    assert "; whoever runs the coordinator " in sentence
    assert all(part in sentence for part in DAMAGES[damage])


def test_a_study_of_which_only_a_folder_was_made_is_not_damaged(
    sound: StudyStore, damaged: Path, memory_path: Path
) -> None:
    gone(damaged)
    shutil.rmtree(damaged / "rounds")
    assert survey(memory_path, lambda store: store.folder) == ([sound.folder], [])


def test_the_command_that_is_named_for_a_lost_file_brings_the_study_back(
    damaged: Path, memory_path: Path
) -> None:
    study = StudyStore(damaged).study
    cut_short(damaged)
    assert len(StudyStore.create(memory_path, study).rounds()) == 1
    assert survey(memory_path, lambda _: None)[1] == []


@pytest.mark.parametrize("damage", [cut_short, of_a_later_release, record_damaged])
def test_whatever_lists_studies_names_a_damaged_one_beside_the_sound_ones(
    damage: Callable[[Path], None], damaged: Path, memory_path: Path, fedcxr: Command
) -> None:
    damage(damaged)
    words = f"study {damaged.name} cannot be read: "
    _, status, _ = fedcxr("coordinator", "status", "--state", memory_path)
    assert "chest-2026" in status
    assert status.count(words) == 1
    _, out, _ = fedcxr("coordinator", "status", "--state", memory_path, "--json")
    told = json.loads(out)
    assert [each["name"] for each in told["studies"]] == ["chest-2026"]
    assert told["damaged"][damaged.name].startswith(words)
    code, models, err = fedcxr("coordinator", "models", "--state", memory_path)
    assert (code, models.count(words), err) == (0, 1, "")
    page = text_of(CoordinatorMetrics(state_path=memory_path))
    assert 'fedcxr_study_round{study="chest-2026"} 5.0' in page
    assert f'fedcxr_study_damaged{{study="{damaged.name}"}} 1.0' in page
    coordinator = coordinator_of(memory_path, None)
    finding = standing.studies(coordinator)
    assert (finding.verdict, words in finding.sentence) == (Verdict.FAIL, True)
    for look in (standing.disk, standing.weights, standing.plans):
        look(coordinator)
    with pytest.raises(UnknownModel, match=words):
        model_named(memory_path, "abcdef12")


@pytest.mark.parametrize("damage", [cut_short, record_damaged])
def test_the_console_shows_the_sound_studies_and_says_what_is_wrong_with_the_damaged_one(
    damage: Callable[[Path], None], damaged: Path, memory_path: Path
) -> None:
    damage(damaged)
    write_endpoint(
        memory_path, host="127.0.0.1", port=8443, control_port=1, ca_path=memory_path / "ca.crt"
    )
    words = f"tudy {damaged.name} cannot be read: "
    with (
        hold_lock(memory_path / LOCK_NAME),
        served_console(memory_path) as console,
        visiting(console) as visitor,
    ):
        overview, hospitals, one = map(
            visitor.read, ("/", "/hospitals", f"/studies/{damaged.name}")
        )
    assert (overview.status_code, hospitals.status_code, one.status_code) == (200, 200, 500)
    assert [each.text.count(words) for each in (overview, hospitals, one)] == [1, 1, 1]
    assert "chest-2026" in overview.text
    assert "chest-2026, round 6" in hospitals.text
    assert "reason is in the console" not in one.text


def test_who_names_a_damaged_study_is_told_what_is_wrong_with_it(
    sound: StudyStore, damaged: Path, memory_path: Path, tmp_path: Path
) -> None:
    shutil.copy(damaged / "study.json", tmp_path / "study.yaml")
    cut_short(damaged)
    for name in ("chest-private", damaged.name, str(tmp_path / "study.yaml")):
        with pytest.raises(DamagedStudy, match="is damaged"):
            study_named(memory_path, name)
    assert study_named(memory_path, "chest-2026").folder == sound.folder
    with pytest.raises(UnknownStudy, match=damaged.name):
        study_named(memory_path, "lung")


def test_of_two_studies_of_one_name_none_is_guessed_because_the_other_is_damaged(
    damaged: Path, memory_path: Path
) -> None:
    cut_short(damaged)
    shutil.copytree(memory_path / "studies" / damaged.name, damaged.with_name("chest-private-0"))
    with pytest.raises(UnknownStudy):
        study_named(memory_path, "chest-private")

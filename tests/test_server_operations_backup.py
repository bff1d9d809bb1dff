"""A coordinator's backup: taken while studies run, whole or not there, and a study goes on from it."""

import json
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from federation.archive import BackupUnusable, Draft, PlaceTaken, read_contents
from federation.certificates import make_authority
from federation.config import StudyConfig
from federation.files import write_file
from federation.stages import FullStage, LocalTraining
from model.arrays import Arrays
from model.tensor_file import copy_tensors
from server.endpoint import CoordinatorNotRunning
from server.operations.backup import backup, restore
from server.records import Part, Reached
from server.round_files import state_path
from server.store import StudyStore
from server.survey import DamagedStudy, answering, survey

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=60, local=LOCAL)


def commit(store: StudyStore, number: int, weights: Arrays) -> None:
    store.record(Part(number=number, site="a", attempt=1, state="admitted", loss=0.5))
    folder = store.open_round(number)
    digests = {"weights": copy_tensors(state_path(folder, "weights"), weights)}
    reached = Reached(number=number, digests=digests, base_digest="")
    store.commit(reached, [], seconds=1.0)


@pytest.fixture
def weights(random_weights: Arrays) -> Arrays:
    """Two of a model's tensors: enough for a round's files."""
    return dict(sorted(random_weights.items())[:2])


@pytest.fixture
def state(memory_path: Path, study_of: Callable[..., StudyConfig], weights: Arrays) -> Path:
    """A coordinator with a study of two rounds, a roster, and everything that a running one has beside it."""
    state = memory_path / "state"
    make_authority(state / "tls")
    write_file(state / "witness.key", b"w" * 32)
    write_file(state / "roster" / "st-mary.pub", b"ecdsa AAAA st-mary\n")
    write_file(state / "flower" / "apps" / "bundle.bin", b"made anew")
    write_file(state / "logs" / "gateway.log", b"a line\n")
    write_file(state / "superexec.secret", b"made anew")
    (state / "superlink.db").write_bytes(b"made anew")
    store = StudyStore.create(state, study_of(STAGE))
    for number in (1, 2):
        commit(store, number, weights)
    write_file(store.scratch_path("a"), b"under way")
    return state


def test_a_study_goes_on_from_a_backup_where_it_was(state: Path, memory_path: Path) -> None:
    backup(state, memory_path / "b.tar", with_keys=True)
    restore(memory_path / "b.tar", memory_path / "again")
    before, after = survey(state, answering)[0][0], survey(memory_path / "again", answering)[0][0]
    assert after.rounds() == before.rounds()
    assert after.parts() == before.parts()
    last = after.load_state()  # compares every tensor with its digest
    assert last is not None
    assert last.round_number == 2
    commit(after, 3, dict(last.weights))
    assert [record.number for record in after.rounds()] == [1, 2, 3]


def test_what_a_start_makes_anew_is_not_in_it(state: Path, memory_path: Path) -> None:
    contents = backup(state, memory_path / "b.tar", with_keys=True)
    tops = {name.split("/")[0] for name in contents.files}
    assert tops == {"tls", "roster", "studies", "witness.key"}
    assert not any("scratch" in name for name in contents.files)


def test_without_being_asked_no_key_is_in_it_and_it_says_which(
    state: Path, memory_path: Path
) -> None:
    contents = backup(state, memory_path / "b.tar", with_keys=False)
    assert contents.left_out == ("tls/ca.key", "witness.key")
    with tarfile.open(memory_path / "b.tar") as archive:
        assert not [name for name in archive.getnames() if name.endswith((".key", ".secret"))]
    restore(memory_path / "b.tar", memory_path / "again")
    assert not (memory_path / "again" / "tls" / "ca.key").exists()
    assert (memory_path / "again" / "tls" / "ca.crt").exists()


def test_a_study_whose_record_is_damaged_is_named_and_nothing_is_written(
    state: Path, memory_path: Path
) -> None:
    (record,) = (state / "studies").glob("*/study.db")
    record.write_bytes(b"no database at all" * 1000)
    with pytest.raises(DamagedStudy, match=rf"study {record.parent.name} cannot be read: .*doctor"):
        backup(state, memory_path / "b.tar", with_keys=True)
    assert not (memory_path / "b.tar").exists()


def test_nobody_else_can_read_it_or_what_comes_out_of_it(state: Path, memory_path: Path) -> None:
    backup(state, memory_path / "b.tar", with_keys=True)
    restore(memory_path / "b.tar", memory_path / "again")
    files = [path for path in (memory_path / "again").rglob("*") if path.is_file()]
    for path in (memory_path / "b.tar", *files):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((memory_path / "again").stat().st_mode) == 0o700


def test_every_backup_taken_while_rounds_are_committed_is_of_one_moment(
    state: Path, memory_path: Path, weights: Arrays
) -> None:
    store, stop = survey(state, answering)[0][0], threading.Event()

    def rounds() -> None:
        number = 3
        while not stop.is_set() and number <= 60:
            commit(store, number, weights)
            number += 1

    working = threading.Thread(target=rounds)
    working.start()
    try:
        for number in range(5):
            backup(state, memory_path / f"{number}.tar", with_keys=True)
    finally:
        stop.set()
        working.join()
    for number in range(5):
        restore(memory_path / f"{number}.tar", memory_path / f"again-{number}")
        copy = survey(memory_path / f"again-{number}", answering)[0][0]
        last = copy.load_state()
        assert last is not None
        assert last.round_number == copy.rounds()[-1].number >= 2


def test_a_study_that_commits_while_it_is_copied_is_copied_again(
    state: Path, memory_path: Path, weights: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, copy, rounds = survey(state, answering)[0][0], Draft.add_database, [3]

    def commit_before(draft: Draft, source: Path, name: str) -> None:
        if rounds:
            commit(store, rounds.pop(), weights)
        copy(draft, source, name)

    monkeypatch.setattr(Draft, "add_database", commit_before)
    backup(state, memory_path / "b.tar", with_keys=True)
    restore(memory_path / "b.tar", memory_path / "again")
    last = survey(memory_path / "again", answering)[0][0].load_state()
    assert last is not None
    assert last.round_number == 3


def test_a_backup_leaves_nothing_behind_in_the_state_folder(state: Path, memory_path: Path) -> None:
    before = sorted(state.rglob("*"))
    backup(state, memory_path / "b.tar", with_keys=True)
    assert sorted(state.rglob("*")) == before


def test_a_cut_or_changed_backup_is_refused_and_nothing_is_put_in_place(
    state: Path, memory_path: Path
) -> None:
    whole = memory_path / "b.tar"
    backup(state, whole, with_keys=True)
    content = whole.read_bytes()
    place = content.index(b"w" * 32)
    for spoiled in (
        content[: len(content) // 2],
        content[:place] + b"x" + content[place + 1 :],
        b"no backup at all",
        b"",
    ):
        (memory_path / "bad.tar").write_bytes(spoiled)
        with pytest.raises(BackupUnusable):
            restore(memory_path / "bad.tar", memory_path / "again")
        assert not (memory_path / "again").exists()
        assert not list(memory_path.glob(".restore-*"))


def test_a_name_that_leads_out_of_the_folder_is_refused(memory_path: Path) -> None:
    (memory_path / "evil").write_bytes(b"evil")
    head = {"format": 1, "side": "coordinator", "release": "0", "made": "", "with_keys": False}
    listing = head | {"left_out": [], "files": {"../escaped": "0" * 64}}
    (memory_path / "backup.json").write_text(json.dumps(listing))
    with tarfile.open(memory_path / "bad.tar", "w") as archive:
        archive.add(memory_path / "backup.json", "backup.json")
        archive.add(memory_path / "evil", "../escaped")
    with pytest.raises(BackupUnusable, match="leads elsewhere"):
        restore(memory_path / "bad.tar", memory_path / "again")


def test_a_folder_that_holds_something_is_left_alone(state: Path, memory_path: Path) -> None:
    backup(state, memory_path / "b.tar", with_keys=True)
    with pytest.raises(PlaceTaken):
        restore(memory_path / "b.tar", state)


def test_a_failed_backup_leaves_the_one_before(
    state: Path, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(state, memory_path / "b.tar", with_keys=True)
    before = (memory_path / "b.tar").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(OSError, match="No space"):
        backup(state, memory_path / "b.tar", with_keys=True)
    assert (memory_path / "b.tar").read_bytes() == before
    assert sorted(path.name for path in memory_path.iterdir()) == ["b.tar", "state"]


def test_the_database_in_a_backup_needs_no_journal_beside_it(
    state: Path, memory_path: Path
) -> None:
    backup(state, memory_path / "b.tar", with_keys=True)
    restore(memory_path / "b.tar", memory_path / "again")
    (database,) = (memory_path / "again").rglob("study.db")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_folder_without_a_coordinator_is_not_backed_up(memory_path: Path) -> None:
    with pytest.raises(CoordinatorNotRunning):
        backup(memory_path / "nothing", memory_path / "b.tar", with_keys=True)


def test_the_commands_say_what_is_missing_and_what_to_put_back(
    state: Path, memory_path: Path, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = fedcxr("coordinator", "backup", memory_path / "b.tar", "--state", state)
    assert code == 0
    assert "tls/ca.key" in out
    assert read_contents(memory_path / "b.tar").side == "coordinator"
    again = memory_path / "again"
    code, out, _ = fedcxr("coordinator", "restore", memory_path / "b.tar", "--state", again)
    assert code == 0
    assert "put these back" in out
    code, out, _ = fedcxr(
        "coordinator", "backup", memory_path / "b.tar", "--state", state, "--json"
    )
    assert json.loads(out)["left_out"] == ["tls/ca.key", "witness.key"]

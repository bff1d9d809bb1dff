"""A small file is replaced in one step, and the drafts of writers that were killed go with the next write."""

import fcntl
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from federation.files import write_file

DIES_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from federation.files import write_file
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_file(Path(sys.argv[1]), b"half")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file whose next content was never finished."""
    path = tmp_path / "status.json"
    write_file(path, b"old")
    killed = subprocess.run([sys.executable, "-c", DIES_WHILE_WRITING, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    return path


def drafts(path: Path) -> list[Path]:
    return [each for each in path.parent.iterdir() if each.name.startswith(".")]


def test_a_writer_that_is_killed_leaves_the_old_content_and_its_draft(path: Path) -> None:
    assert path.read_bytes() == b"old"
    assert len(drafts(path)) == 1


def test_the_next_write_removes_what_a_killed_one_left(path: Path) -> None:
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert drafts(path) == []


def test_a_draft_that_somebody_still_writes_stays_whatever_its_process(path: Path) -> None:
    (draft,) = drafts(path)
    with draft.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_file(path, b"new")
        assert drafts(path) == [draft]
    write_file(path, b"newer")
    assert drafts(path) == []


def test_a_draft_that_was_taken_for_abandoned_before_its_lock_is_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def made_and_removed(**options: Any) -> tuple[int, str]:  # noqa: ANN401
        descriptor, name = mkstemp(**options)
        made.append(name)
        if len(made) == 1:
            Path(name).unlink()
        return descriptor, name

    mkstemp = tempfile.mkstemp
    monkeypatch.setattr("federation.files.tempfile.mkstemp", made_and_removed)
    write_file(path, b"new")
    assert (path.read_bytes(), len(made), drafts(path)) == (b"new", 2, [])


def test_many_writers_of_one_file_at_once_all_come_through(path: Path) -> None:
    contents = [bytes([number]) * 100 for number in range(8)]
    with ThreadPoolExecutor(len(contents)) as writers:
        for _ in range(10):
            list(writers.map(lambda content: write_file(path, content), contents))
            assert path.read_bytes() in contents
    assert drafts(path) == []


def test_drafts_of_other_files_and_files_of_other_people_stay(path: Path) -> None:
    others = {
        path.with_name(".other.json.abcdefgh.writing"),
        path.with_name(".status.json.abcdefgh"),
        path.with_name(".status.json.swp"),
    }
    for other in others:
        other.touch()
    write_file(path, b"new")
    assert set(drafts(path)) == others


def test_a_write_that_fails_leaves_no_draft(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("federation.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert drafts(path) == []

"""A small file is replaced in one step, and the drafts of writers that were killed go with the next write."""

import os
import signal
import subprocess
import sys
from pathlib import Path

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


def test_the_draft_of_a_process_that_lives_stays(path: Path) -> None:
    under_way = path.with_name(f".{path.name}.{os.getppid()}.abcdefgh")
    under_way.touch()
    write_file(path, b"new")
    assert drafts(path) == [under_way]


def test_drafts_of_other_files_and_files_of_other_people_stay(path: Path) -> None:
    (dead,) = drafts(path)
    pid = dead.name.split(".")[3]
    others = {
        path.with_name(f".status.json.old.{pid}.abcdefgh"),
        path.with_name(f".other.json.{pid}.abcdefgh"),
        path.with_name(f".status.json.{pid}"),
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

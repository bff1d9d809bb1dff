"""A state folder that cannot be used is refused in one sentence, and nothing is left behind."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., str]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the system refuse to bring anything to the disk."""

    def fail_with(number: int) -> None:
        def fail(_: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("server.state_folder.os.fsync", fail)

    return fail_with


@pytest.mark.parametrize(
    ("number", "complaint"),
    [
        (errno.ENOSPC, "has less than 1 MiB of free room: whoever keeps this machine has to"),
        (errno.EROFS, "is on a read-only file system: whoever keeps this machine has to mount it"),
        (errno.EACCES, "is not open to this process: "),
    ],
)
def test_a_folder_that_takes_nothing_is_refused_and_not_left_behind(
    refused: Refused,
    failing: Callable[[int], None],
    tmp_path: Path,
    number: int,
    complaint: str,
) -> None:
    failing(number)
    message = refused("coordinator", "up", "--state", tmp_path / "c")
    assert message.startswith(f"{tmp_path}/c {complaint}")
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "c").exists()


def test_a_folder_with_a_coordinators_files_is_not_touched_when_it_takes_nothing(
    refused: Refused, failing: Callable[[int], None], tmp_path: Path
) -> None:
    (tmp_path / "port").write_text("8443")
    failing(errno.ENOSPC)
    refused("coordinator", "up", "--state", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["port"]


def test_a_folder_with_another_persons_files_names_that_person(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "superlink.db").touch()
    monkeypatch.setattr("server.state_folder.os.access", lambda *_: False)
    monkeypatch.setattr("server.state_folder._name", lambda user: f"no {user}")
    message = refused("coordinator", "up", "--state", tmp_path)
    me, theirs = f"no {os.geteuid()}", tmp_path / "superlink.db"
    assert f"not open to this process: {theirs} belongs to {me}, and this is {me}" in message
    assert f"type `chown -R {me} {tmp_path}`" in message
    assert [path.name for path in tmp_path.iterdir()] == ["superlink.db"]


def test_a_folder_that_could_not_be_made_is_to_be_made_by_whoever_can(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = refused("coordinator", "up", "--state", tmp_path / "c")
    assert f"{tmp_path}/c is not open to this process: {tmp_path} belongs to" in message
    assert "type `install -d -o " in message

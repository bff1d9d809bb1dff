"""Room on the coordinator's disk."""

import errno
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from federation.stages import FullStage, LocalTraining, LoraStage, OuterStep
from server.room import (
    SPARE_BYTES,
    NoRoom,
    check_room,
    file_bytes,
    free_bytes,
    room_for_round,
    within_room,
)

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=1, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=1, local=LOCAL, rank=2, alpha=2.0)


def needed(
    stage: FullStage | LoraStage, *, num_sites: int = 3, max_scratch: int | None = None
) -> int:
    return room_for_round(
        stage,
        weights_bytes=1000,
        step_bytes=20,
        num_sites=num_sites,
        change_bytes=300,
        max_scratch=max_scratch,
    )


def test_the_free_room_is_what_the_system_says_that_we_may_write(tmp_path: Path) -> None:
    system = os.statvfs(tmp_path)
    told = system.f_bavail * system.f_frsize
    assert free_bytes(tmp_path) == pytest.approx(told, abs=2**30)  # others write meanwhile


def test_a_round_needs_room_for_its_files_and_for_the_changes_that_make_it() -> None:
    assert needed(LORA) == needed(FULL) == 1000 + 20 + 3 * 300


def test_a_round_needs_room_for_everything_that_the_coordinator_remembers() -> None:
    nesterov = replace(FULL, outer=OuterStep(momentum=0.9))
    adam = replace(FULL, outer=OuterStep(kind="adam", learning_rate=0.01), ema_decay=0.9)
    assert needed(nesterov) - needed(FULL) == 1000
    assert needed(adam) - needed(FULL) == 3000


def test_changes_never_need_more_room_than_the_cap_on_scratch() -> None:
    assert needed(FULL, num_sites=50, max_scratch=500) == 1000 + 20 + 500
    assert needed(FULL, num_sites=1, max_scratch=500) == 1000 + 20 + 300


def test_a_file_has_four_bytes_for_every_value() -> None:
    assert file_bytes({"w": (2, 3), "bias": (5,)}) == 44


def test_a_disk_with_too_little_room_is_named_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.room.free_bytes", lambda _: 2_000_000_000)
    check_room(tmp_path, 2_000_000_000 - SPARE_BYTES)
    with pytest.raises(NoRoom):
        check_room(tmp_path, 2_000_000_001 - SPARE_BYTES)
    with pytest.raises(NoRoom) as caught:
        check_room(tmp_path, 5_000_000_000 - SPARE_BYTES)
    assert str(caught.value) == (
        f"{tmp_path} has 2.0 GB of free room, and the study needs 5.0 GB to go on: whoever keeps this machine has to "
        "free some (`df -h` shows the disks), and the study then goes on by itself"
    )
    assert caught.value.needed_bytes == 5_000_000_000


def test_a_disk_that_fills_up_meanwhile_is_told_likewise(tmp_path: Path) -> None:
    with pytest.raises(NoRoom) as caught, within_room(tmp_path, 1):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.needed_bytes == 1 + SPARE_BYTES


def test_a_database_that_cannot_grow_is_a_full_disk(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "small.db")) as connection:
        connection.execute("CREATE TABLE rows (value BLOB)")
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(NoRoom), within_room(tmp_path, 1):
            connection.execute("INSERT INTO rows VALUES (zeroblob(100000))")


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken"), sqlite3.OperationalError("locked")]
)
def test_another_failure_is_not_taken_for_a_full_disk(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error), match=r"broken|locked"), within_room(tmp_path, 1):
        raise error

"""Full and read-only disks under a real federation: it stops with a reason, and goes on by itself."""

import os
import threading
from pathlib import Path

import psutil
import pytest

from server.records import Part
from server.status import study_status
from server.store import StudyStore
from simulation.layout import Layout
from tests.faults.disks import failing_disk, small_disk
from tests.faults.federation_under_test import (
    Federation,
    digests_of_honest,
    federation,
    names_of,
    study_of,
    wait_until,
)

pytestmark = [pytest.mark.federation, pytest.mark.slow]

thorough = pytest.mark.skipif(
    not os.environ.get("FEDCXR_ALL_FAULTS"), reason="`make faults` runs it"
)
DISK_MEGABYTES = 160
HOSPITAL_MEGABYTES = 64


def finishes_with_the_same_bits(
    running: Federation, thread: threading.Thread, scratch: Path
) -> bool:
    """Whether the study comes to its end, which is that of one that nothing happened to."""
    wait_until(lambda: _tended(running, thread), seconds=240)
    honest = digests_of_honest(running.study, running.layout, names_of(running.study), scratch)
    return [record.digest for record in running.store.rounds()] == honest


def _tended(running: Federation, thread: threading.Thread) -> bool:
    """Bring back what died; whether the study has ended."""
    running.supervisor.tend()
    return not thread.is_alive()


def test_on_a_full_disk_a_study_is_read_and_the_reason_is_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        store = StudyStore.create(disk.path, study_of("s", num_sites=2, min_sites=2, num_rounds=1))
        store.set_fact("stopped", "")
        disk.fill()
        assert disk.free() == 0
        store.set_fact("stopped", "a sentence of a usual length, with its numbers" * 5)
        assert "its numbers" in study_status(store).reason


def test_a_coordinator_whose_disk_fills_up_waits_for_room_and_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    study = study_of("full-disk", num_sites=2, min_sites=2, num_rounds=2)
    with (
        small_disk(tmp_path / "out" / "coordinator", DISK_MEGABYTES) as disk,
        federation(tmp_path / "out", study) as running,
    ):
        thread = running.run()
        wait_until(running.store.rounds, seconds=120)
        disk.fill()
        wait_until(lambda: "free" in study_status(running.store).reason, seconds=120)
        assert study_status(running.store).state == "waiting"
        disk.resize(3 * DISK_MEGABYTES)
        assert finishes_with_the_same_bits(running, thread, tmp_path / "alone")
    assert not running.stopped


@thorough
def test_a_hospital_whose_disk_fills_up_is_left_out_with_the_reason_until_there_is_room(
    tmp_path: Path,
) -> None:
    study = study_of("full-hospital", num_sites=2, min_sites=1, num_rounds=6)
    sound, full = names_of(study)
    layout = Layout(tmp_path / "out")
    with (
        small_disk(layout.hospital(full) / "state", HOSPITAL_MEGABYTES) as disk,
        federation(layout.out, study) as running,
    ):
        thread = running.run()
        wait_until(running.store.rounds, seconds=120)
        disk.fill()
        wait_until(lambda: refused(running, full), seconds=120)
        disk.empty()
        wait_until(lambda: not thread.is_alive(), seconds=240)
    assert {part.code for part in refused(running, full)} == {"disk"}
    assert all(str(tmp_path) not in part.reason for part in running.store.parts())
    assert "the disk under this hospital's state_path" in refused(running, full)[0].reason
    assert not refused(running, sound)
    assert running.part(study.num_rounds, full).state == "admitted"


def refused(running: Federation, name: str) -> list[Part]:
    """A hospital's parts that did not count."""
    parts = running.store.parts()
    return [part for part in parts if part.site == name and part.state == "refused"]


@thorough
def test_a_coordinator_whose_disk_turns_read_only_ends_with_a_sentence_and_goes_on_when_it_is_mended(
    tmp_path: Path,
) -> None:
    study = study_of("read-only", num_sites=2, min_sites=2, num_rounds=3)
    layout = Layout(tmp_path / "out")
    with (
        failing_disk(layout.coordinator, tmp_path / "image", DISK_MEGABYTES) as disk,
        federation(layout.out, study) as running,
    ):
        thread = running.run()
        wait_until(running.store.rounds, seconds=120)
        pid = running.supervisor.states()["coordinator"].pid
        disk.fail()
        assert pid is not None
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, seconds=90)
        said = (layout.logs / "coordinator.log").read_text()
        disk.unmount()
        disk.mount()
        assert finishes_with_the_same_bits(running, thread, tmp_path / "alone")
    assert "Traceback" not in said
    assert "(Read-only file system): mend that" in said

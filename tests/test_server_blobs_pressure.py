"""The gateway under pressure: many at once, a full disk, a sudden death."""

import hashlib
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from server.blobs.boxes import Boxes, boxes_path
from tests.faults.gateway_process import (
    BOX,
    SHARD,
    Gateway,
    begun_put,
    open_box,
    running_gateway,
    shard_file,
    upload_offset,
    wait_for,
)


def test_many_callers_with_one_shard_leave_it_once(gateway: Gateway) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(gateway.put(2, 0, SHARD)[0]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {201, 409}
    assert 201 in answers
    assert shard_file(gateway, 2).read_bytes() == SHARD


@pytest.mark.slow
def test_a_gateway_killed_in_the_middle_goes_on_from_there(gateway: Gateway) -> None:
    with begun_put(gateway, 1, SHARD[:800_000]):
        wait_for(lambda: gateway.offset(1) >= 500_000)
        gateway.kill()
    gateway.start()
    there = gateway.offset(1)
    assert 500_000 <= there <= 800_000
    assert upload_offset(gateway.put(1, there, SHARD[there:])) == (201, len(SHARD))
    assert shard_file(gateway, 1).read_bytes() == SHARD


def test_a_full_disk_is_said_and_takes_nothing_away(gateway: Gateway) -> None:
    gateway.put(1, 0, SHARD)
    part = shard_file(gateway, 0).with_suffix(".part")
    part.symlink_to("/dev/full")
    assert upload_offset(gateway.put(0, 0, SHARD)) == (507, 0)
    part.unlink()
    assert upload_offset(gateway.put(0, 0, SHARD)) == (201, len(SHARD))
    assert gateway.offset(1) == len(SHARD)


@pytest.mark.slow
def test_sixteen_uploads_at_once_need_little_memory_and_let_others_through(
    gateway: Gateway,
) -> None:
    boxes = Boxes(boxes_path(gateway.state))
    content = os.urandom(2**23)
    digest = hashlib.sha256(content).hexdigest()
    boxes.open("many", sizes=[len(content)] * 16, digests=[digest] * 16)
    token = gateway.token("many", "leave")
    span = f"bytes 0-{len(content) - 1}/{len(content)}"
    statuses: list[int] = []

    def leave(number: int) -> None:
        path = f"/blobs/many/{number}"
        statuses.append(gateway.call("PUT", path, token, content, Content_Range=span)[0])

    threads = [threading.Thread(target=leave, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    assert gateway.process
    watched, peak, waited = psutil.Process(gateway.process.pid), 0, 0.0
    while any(thread.is_alive() for thread in threads):
        begin = time.monotonic()
        gateway.call("GET", "/healthz", "")
        waited = max(waited, time.monotonic() - begin)
        peak = max(peak, watched.memory_info().rss)
    for thread in threads:
        thread.join()
    assert statuses == [201] * 16
    assert peak < 150 * 2**20
    assert waited < 5


def can_mount() -> bool:
    command = ("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="this system lets nobody mount a small disk")
def test_a_disk_that_fills_up_in_a_shard_keeps_its_beginning_until_there_is_room() -> None:
    small_disk = 'mkdir -p "$0" && mount -t tmpfs -o size=1600k tmpfs "$0" && exec "$@"'
    with tempfile.TemporaryDirectory() as name:
        disk = Path(name) / "disk"
        with running_gateway("unshare", "-rm", "sh", "-c", small_disk, str(disk)) as gateway:
            assert gateway.process
            boxes = Boxes(Path(f"/proc/{gateway.process.pid}/root{disk}"))
            boxes_path(gateway.state).rmdir()
            boxes_path(gateway.state).symlink_to(disk)
            open_box(boxes)
            assert gateway.put(0, 0, SHARD)[0] == 201
            status, there = upload_offset(gateway.put(1, 0, SHARD))
            assert (status, there) == (507, gateway.offset(1))
            assert 0 < there < len(SHARD)
            assert upload_offset(gateway.put(1, there, SHARD[there:])) == (507, there)
            boxes.drop(BOX, [0])
            assert upload_offset(gateway.put(1, there, SHARD[there:])) == (201, len(SHARD))
            assert boxes.folder(BOX).joinpath("000001").read_bytes() == SHARD

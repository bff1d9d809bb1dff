"""What systemd hears of a service, over a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.systemd import ServiceManager, service_manager


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(2)
        yield line


def told_by(listener: socket.socket) -> dict[str, str]:
    lines = listener.recv(4096).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def manager_at(path: Path, **environment: str) -> ServiceManager:
    return service_manager({"NOTIFY_SOCKET": str(path), **environment})


def test_readiness_comes_with_a_sentence_in_one_line(
    listener: socket.socket, tmp_path: Path
) -> None:
    manager_at(tmp_path / "notify").ready("coordinator is\nready on 127.0.0.1:8443")
    assert told_by(listener) == {"READY": "1", "STATUS": "coordinator is ready on 127.0.0.1:8443"}


def test_a_sentence_that_did_not_change_is_told_once(
    listener: socket.socket, tmp_path: Path
) -> None:
    manager = manager_at(tmp_path / "notify")
    for sentence in ("registered", "registered", "waiting"):
        manager.status(sentence)
    assert [told_by(listener)["STATUS"] for _ in range(2)] == ["registered", "waiting"]


def test_signs_of_life_come_three_times_in_a_watchdog_period(
    listener: socket.socket, tmp_path: Path
) -> None:
    clock = 0.0
    manager = manager_at(tmp_path / "notify", WATCHDOG_USEC="30000000")
    manager.now = lambda: clock
    for second in range(31):
        clock = float(second)
        manager.alive()
    listener.settimeout(0)
    heard = [told_by(listener) for _ in range(4)]
    assert heard == [{"WATCHDOG": "1"}] * 4  # at 0, 10, 20 and 30 seconds
    with pytest.raises(BlockingIOError):
        listener.recv(10)


def test_a_watchdog_that_was_set_for_another_process_is_not_this_ones() -> None:
    usual = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "10000000"}
    assert service_manager({**usual, "WATCHDOG_PID": "1"}).watchdog_seconds is None
    assert service_manager({**usual, "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 10


def test_an_abstract_socket_is_found_by_its_name() -> None:
    name = f"fedcxr-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0{name}")
        line.settimeout(2)
        service_manager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert told_by(line)["STOPPING"] == "1"


def test_without_systemd_nothing_is_sent_and_nothing_fails(tmp_path: Path) -> None:
    for manager in (service_manager({}), manager_at(tmp_path / "gone", WATCHDOG_USEC="1000")):
        manager.ready("up")
        manager.alive()
        manager.stopping()

"""Children live while they are wanted, come back when they die, and never outlive their supervisor."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from federation import processes
from federation.orphan_guard import remaining_groups
from federation.processes import Program, Supervisor, flower_environment, free_port

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(f"{grandchild.pid}\\n")
time.sleep(600)
"""
SUPERVISE = """
import sys, time
from pathlib import Path
from federation.processes import Program, Supervisor
folder = Path(sys.argv[1])
program = Program(arguments=(sys.executable, "-S", "-c", sys.argv[2], str(folder / "grandchild")),
                  environment={}, folder=folder, log_path=folder / "log")
with Supervisor() as supervisor:
    supervisor.start("stubborn", program)
    (folder / "child").write_text(f"{supervisor.states()['stubborn'].pid}\\n")
    time.sleep(600)
"""


def program(folder: Path, code: str, *arguments: str) -> Program:
    return Program(
        arguments=(sys.executable, "-S", "-c", code, *arguments),
        environment={},
        folder=folder,
        log_path=folder / "logs" / "child.log",
    )


def eventually(condition: Callable[[], bool], *, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def number_in(path: Path) -> int:
    assert eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_nothing_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", SUPERVISE, str(tmp_path), STUBBORN]
    with subprocess.Popen(arguments) as supervisor:
        family = [number_in(tmp_path / "grandchild"), number_in(tmp_path / "child")]
        assert all(is_running(pid) for pid in family)
        supervisor.kill()
    assert eventually(lambda: not any(is_running(pid) for pid in family), seconds=3.0)


def test_stopping_kills_what_does_not_listen_and_what_it_started(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start("stubborn", program(tmp_path, STUBBORN, str(tmp_path / "grandchild")))
        family = [number_in(tmp_path / "grandchild"), supervisor.states()["stubborn"].pid or 0]
        supervisor.stop(patience_seconds=0.3)
    assert eventually(lambda: not any(is_running(pid) for pid in family))


def test_a_dead_child_comes_back_after_longer_and_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("federation.processes.time.monotonic", lambda: now)
    pauses = []
    with Supervisor() as supervisor:
        supervisor.start("short", program(tmp_path, "raise SystemExit(3)"))
        for num_starts in range(2, 9):
            assert eventually_dead(supervisor)
            began = now
            while supervisor.states()["short"].num_starts < num_starts:
                now += 0.25
                supervisor.tend()
            pauses.append(now - began)
        assert supervisor.states()["short"].exit_code == 3
        monkeypatch.undo()
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]


def eventually_dead(supervisor: Supervisor) -> bool:
    """Wait, on a clock that stands still, for the child to end and the supervisor to see it."""
    for _ in range(500):
        supervisor.tend()
        if supervisor.states()["short"].pid is None:
            return True
        time.sleep(0.02)
    return False


def test_a_child_that_lived_long_comes_back_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STEADY_SECONDS", 0.0)
    with Supervisor() as supervisor:
        supervisor.start("steady", program(tmp_path, "pass"))

        def restarted() -> bool:
            supervisor.tend()
            return supervisor.states()["steady"].num_starts >= 3

        assert eventually(restarted, seconds=3.0)


def test_a_guard_that_was_killed_is_replaced(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start("child", program(tmp_path, "import time; time.sleep(600)"))
        child = supervisor.states()["child"].pid or 0
        children = psutil.Process().children()
        living = [p for p in children if p.status() != psutil.STATUS_ZOMBIE]
        (guard,) = (p for p in living if "orphan_guard" in str(p.cmdline()))
        guard.send_signal(signal.SIGKILL)
        assert eventually(lambda: not is_running(guard.pid))
        supervisor.tend()
        living = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
        (other,) = (p for p in living if "orphan_guard" in str(p.cmdline()))
        assert other.pid != guard.pid
        assert is_running(child)


def test_the_guard_forgets_groups_that_ended() -> None:
    assert remaining_groups(["+12\n", "+13\n", "-12\n", "+14\n"]) == {13, 14}


def test_a_childs_words_go_to_its_log_which_others_cannot_read(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start("child", program(tmp_path, "print(open('made', 'w').write('x'))"))
        log = tmp_path / "logs" / "child.log"
        assert eventually(lambda: log.read_text() == "1\n")
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_LOG_BYTES", 10)
    with Supervisor() as supervisor:
        supervisor.start(
            "child", program(tmp_path, "print('x' * 40, flush=True); import time; time.sleep(9)")
        )
        log = tmp_path / "logs" / "child.log"
        assert eventually(lambda: log.stat().st_size > 10)
        supervisor.tend()
        assert (log.stat().st_size, log.with_suffix(".log.1").read_text()) == (0, "x" * 40 + "\n")


def test_flower_calls_nobody_and_takes_no_setting_from_its_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_INTERNAL_GRPC_FLEET_API", "1")
    monkeypatch.setenv("NO_PROXY", "pacs.example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    found = flower_environment(tmp_path / "home")
    flower = {name: value for name, value in found.items() if name.startswith("FLWR_")}
    assert flower == {
        "FLWR_HOME": str(tmp_path / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    assert found["NO_PROXY"] == "pacs.example.org,127.0.0.1,localhost,::1"
    assert found["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_a_free_port_is_free() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))

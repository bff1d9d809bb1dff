"""A hospital is gone within seconds of the word, with the network down, and also if it hangs; it stays away."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from client.control.gate import Gate
from client.control.limits import Limits, limits_in_force
from client.control.orders import read_orders
from client.control.running import LOCK_NAME, read_running
from client.control.stop import stop
from client.evidence.log import entries
from client.supernode import NodeState, node_state
from federation.certificates import make_authority
from federation.files import is_locked
from federation.processes import flower_environment
from federation.strict_yaml import dump_yaml
from tests.faults.line import FaultyLine


@pytest.fixture
def line() -> Iterator[FaultyLine]:
    """Leads to no coordinator."""
    with FaultyLine(1) as line:
        yield line


@pytest.fixture
def profile(tmp_path: Path, line: FaultyLine) -> Path:
    """A hospital at the end of that line."""
    content = {
        "site_name": "north",
        "coordinator": f"127.0.0.1:{line.port}",
        "ca_path": str(make_authority(tmp_path / "authority").ca_path),
        "data_path": "data",
        "state_path": "state",
        "image_size": 32,
        "limits": {"niceness": 7},
    }
    (tmp_path / "site.yaml").write_text(dump_yaml(content))
    return tmp_path / "site.yaml"


def typed(profile: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "hospital", *words, str(profile), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=flower_environment(profile.parent / "home"),
    )


@pytest.fixture
def up(profile: Path, line: FaultyLine) -> Iterator["subprocess.Popen[str]"]:
    """``fedcxr hospital up`` with both of its programs, one of which waits on a line that swallows everything."""
    process = started(profile)
    eventually(lambda: len(programs(profile)) == 2)
    line.stall()
    before = line.num_connections
    eventually(lambda: line.num_connections > before)
    yield process
    process.kill()
    process.communicate()


def started(profile: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "hospital", "up", str(profile)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=flower_environment(profile.parent / "home"),
    )


def programs(profile: Path) -> tuple[int, ...]:
    running = read_running(profile.parent / "state")
    return running.survivors() if running else ()


def eventually(condition: Callable[[], object], *, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def test_stopping_where_nothing_runs_keeps_it_so(tmp_path: Path) -> None:
    done = stop(tmp_path, "ann", on_acknowledged=lambda: None)
    assert not done.was_running
    assert read_orders(tmp_path).stopped is not None
    assert Gate(state_path=tmp_path).closed() is not None


@pytest.mark.slow
def test_a_hospital_stops_in_seconds_with_the_network_down_and_stays_stopped_until_resumed(
    profile: Path, up: "subprocess.Popen[str]"
) -> None:
    state, own = profile.parent / "state", psutil.Process(up.pid).children(recursive=True)
    follows_its_profile(profile)
    facts = json.loads(typed(profile, "stop", "--name", "Dr Ann").stdout)
    assert (facts["was_running"], facts["was_killed"]) == (True, False)
    assert facts["acknowledged_seconds"] < 2.0
    assert facts["gone_seconds"] < 10.0
    assert not living(own)
    assert up.wait(5) == 0
    assert [(each.event, each.actor) for each in entries(state)][-1] == ("stopped", "Dr Ann")

    again = started(profile)  # as a service manager does that restarts whatever ends
    try:
        assert again.stdout is not None
        assert "stopped by its people" in again.stdout.readline()
        assert node_state(state, Gate(state_path=state)) is NodeState.PAUSED
        assert json.loads(typed(profile, "resume").stdout)["state"] == "open"
        eventually(lambda: programs(profile))
        kills_what_hangs(again, state)
    finally:
        again.kill()
        again.communicate()


def follows_its_profile(profile: Path) -> None:
    """What its data manager writes into the profile holds while it runs, and nonsense does not."""
    state, before = profile.parent / "state", profile.read_text()
    assert (limits_in_force(state) or Limits()).niceness == 7
    profile.write_text(before.replace("niceness: 7", "niceness: 70"))
    profile.write_text(before.replace("niceness: 7", "niceness: 9"))
    eventually(lambda: (limits_in_force(state) or Limits()).niceness == 9)


def kills_what_hangs(up: "subprocess.Popen[str]", state: Path) -> None:
    """A hospital that does not hear the word is gone as fast."""
    own = psutil.Process(up.pid).children(recursive=True)
    os.kill(up.pid, signal.SIGSTOP)
    done = stop(state, "ann", on_acknowledged=lambda: None)
    assert done.was_killed
    assert done.acknowledged_seconds < 2.0
    assert done.gone_seconds < 10.0
    assert not is_locked(state / LOCK_NAME)
    assert not living(own)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != "zombie"]

"""A real coordinator that is killed without a word: nothing of it stays, and the study goes on by itself."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from federation.config import StudyConfig
from federation.processes import flower_environment
from federation.stages import FullStage, LocalTraining
from server.endpoint import CoordinatorNotRunning, read_endpoint
from server.store import StudyStore
from server.watch import want

pytestmark = [pytest.mark.slow, pytest.mark.federation]

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=1, local=LOCAL)


def eventually(condition: Callable[[], bool], *, seconds: float = 90.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def is_up(state: Path) -> bool:
    try:
        return read_endpoint(state).port > 0
    except CoordinatorNotRunning:
        return False


def up(root: Path) -> subprocess.Popen[bytes]:
    arguments = ("-m", "cli", "coordinator", "up", "--state", str(root / "state"))
    with (root / "up.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=flower_environment(root / "home"),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def test_after_a_kill_nothing_remains_and_starting_the_coordinator_takes_the_study_up_again(
    study_of: Callable[..., StudyConfig], tmp_path: Path
) -> None:
    store = StudyStore.create(tmp_path / "state", study_of(STAGE, deadline_seconds=600.0))
    want(store)
    with up(tmp_path) as first:
        try:
            assert eventually(store.is_running)
            run = store.fact("run")
            family = psutil.Process(first.pid).children(recursive=True)
            names = " ".join(" ".join(each.cmdline()) for each in family)
            programs = ("superlink", "superexec", "serverapp", "server.gateway", "orphan_guard")
            assert [each for each in programs if each not in names] == []
        finally:
            first.kill()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    assert not store.is_running()
    with up(tmp_path) as second:
        try:
            assert eventually(lambda: is_up(tmp_path / "state"))
            assert eventually(store.is_running)
        finally:
            second.terminate()
    assert store.fact("run") != run
    assert store.fact("fruitless") == ""
    assert second.returncode == 0
    assert not store.is_running()

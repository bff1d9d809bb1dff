"""Errands to the SuperLink are processes of their own: never waited for, and ended with whoever sent them."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

import server.errand
from federation.certificates import make_authority
from federation.processes import flower_environment, free_port
from server.errand import Done, Errands, Outcome
from server.roster_folder import LOOK_SECONDS, RETRY_SECONDS, RosterFolder


@pytest.fixture
def errands(tmp_path: Path) -> Errands:
    make_authority(tmp_path / "tls")
    return Errands(
        control_port=free_port(),
        ca_path=tmp_path / "tls" / "ca.crt",
        environment=flower_environment(tmp_path / "home"),
    )


def tend_until(condition: Callable[[], bool], errands: Errands) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        errands.tend()
        time.sleep(0.02)


@pytest.mark.slow
def test_an_errand_to_a_superlink_that_is_away_ends_with_one_sentence(errands: Errands) -> None:
    heard: list[Outcome] = []
    began = time.monotonic()
    errands.send(("stop", "1"), heard.append)
    assert time.monotonic() - began < 0.5
    assert not errands.is_free()
    tend_until(errands.is_free, errands)
    sentence = "the SuperLink does not answer (ConnectError)"
    assert heard == [Outcome(is_done=False, text=sentence)]


def test_an_errand_that_takes_too_long_is_ended_and_heard_of(
    errands: Errands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.errand, "MAX_SECONDS", 0.0)
    heard: list[Outcome] = []
    errands.send(("stop", "1"), heard.append)
    errands.tend()
    assert heard == [Outcome(is_done=False, text="the SuperLink was not reached (code -9)")]
    assert errands.is_free()


def test_closing_ends_the_errand_under_way(errands: Errands) -> None:
    errands.send(("stop", "1"), lambda _: None)
    living = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    (child,) = (p for p in living if "server.errand" in p.cmdline())
    errands.close()
    assert not child.is_running()


class Clerk:
    """Notes what is sent, and answers as the test says."""

    def __init__(self) -> None:
        self.sent: list[Sequence[str]] = []
        self.outcome = Outcome(is_done=True, text="")

    def is_free(self) -> bool:
        """At any time."""
        return True

    def send(self, words: Sequence[str], done: Done) -> None:
        """Do the errand at once."""
        self.sent.append(words)
        done(self.outcome)


def test_flower_is_told_of_the_roster_at_the_start_and_whenever_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("server.roster_folder.time.monotonic", lambda: now)
    clerk = Clerk()
    roster = RosterFolder(folder=tmp_path, errands=clerk)
    counts = []
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: None,
        lambda: (tmp_path / "north.pub").write_text("a"),
        lambda: (tmp_path / "north.pub").write_text("ab"),
        lambda: (tmp_path / "note.txt").write_text("not a key"),
        (tmp_path / "north.pub").unlink,
    ]
    for change in changes:
        change()
        now += LOOK_SECONDS
        roster.tend()
        counts.append(len(clerk.sent))
    assert counts == [1, 1, 2, 3, 3, 4]
    assert set(clerk.sent) == {("roster", str(tmp_path))}


def test_a_roster_that_flower_did_not_take_is_brought_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("server.roster_folder.time.monotonic", lambda: now)
    clerk = Clerk()
    clerk.outcome = Outcome(is_done=False, text="")
    roster = RosterFolder(folder=tmp_path, errands=clerk)
    roster.tend()
    now += RETRY_SECONDS - 0.1
    roster.tend()
    assert len(clerk.sent) == 1
    clerk.outcome = Outcome(is_done=True, text="")
    for _ in range(3):
        now += RETRY_SECONDS
        roster.tend()
    assert len(clerk.sent) == 2


def test_the_supervisors_modules_import_nothing_of_flower_and_no_torch() -> None:
    code = (
        "import sys, server.cli, server.superlink\n"
        "print({'flwr', 'torch', 'opacus', 'grpc', 'fastapi'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"

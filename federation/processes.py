"""Flower's processes: how they are started, kept alive and taken down, whatever becomes of the supervisor."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from federation import orphan_guard
from federation.files import make_private_folder
from federation.systemd import ServiceManager, service_manager

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A child that lived this long is restarted without delay when it dies."""
STOP_SECONDS = 8.0
"""Time that children get to end on their own."""
MAX_LOG_BYTES = 16 * 2**20
LOOPBACK = "127.0.0.1,localhost,::1"
_SET_PARENT_DEATH_SIGNAL = 1


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def flower_environment(home: Path) -> dict[str, str]:
    """The environment of one Flower process: silent towards the Internet, with its own home folder.

    Settings of Flower in the caller's environment are dropped, so that none of them decides what runs.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
    direct = _without_proxy(inherited)
    return inherited | {
        "FLWR_HOME": str(make_private_folder(home)),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "NO_PROXY": direct,
        "no_proxy": direct,
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), inherited.get("PATH", os.defpath)]),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def keep_loopback_direct() -> None:
    """Make this process reach its own machine without the proxy that leads to the Internet."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = _without_proxy(os.environ)


def die_with_parent() -> None:
    """Have the system kill this process when the one that started it dies; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL))


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What is started under a name."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    """Where it runs."""
    log_path: Path
    """Gets everything it prints; the last 16 to 32 MiB are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessState:
    """One child, as its supervisor knows it."""

    pid: int | None
    """None while it is not running."""
    num_starts: int
    exit_code: int | None
    """Of its last end; negative for a signal."""


@dataclass(kw_only=True, slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    num_starts: int = 0
    num_failures: int = 0
    """Ends in a row after a short life."""
    started: float = 0.0
    next_start: float = 0.0
    exit_code: int | None = None


@dataclass(kw_only=True, slots=True)
class Supervisor:
    """Keeps named programs running; whoever owns it calls `tend` a few times a second.

    Each child leads its own session. They all end with the ``with`` block, and a guard process ends them,
    grandchildren included, if the supervisor itself is killed.
    """

    _children: dict[str, _Child] = field(default_factory=dict)
    _guard: subprocess.Popen[str] | None = None
    _manager: ServiceManager = field(default_factory=service_manager)
    """Hears with every look that this process lives."""

    def __enter__(self) -> Self:
        self._start_guard()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, program: Program) -> None:
        """Start a program and keep it alive from now on."""
        self._children[name] = _Child(program=program)
        self._launch(self._children[name])

    def states(self) -> dict[str, ProcessState]:
        """Every child by name."""
        return {
            name: ProcessState(
                pid=child.process.pid if child.process else None,
                num_starts=child.num_starts,
                exit_code=child.exit_code,
            )
            for name, child in self._children.items()
        }

    def tend(self) -> None:
        """Notice the dead, restart those whose pause is over, keep logs short."""
        self._manager.alive()
        if self._guard is None or self._guard.poll() is not None:
            self._start_guard()
        now = time.monotonic()
        for child in self._children.values():
            if child.process and child.process.poll() is not None:
                self._bury(child, child.process)
            if child.process is None and now >= child.next_start:
                self._launch(child)
            _shorten_log(child.program.log_path)

    def groups(self) -> set[int]:
        """The process groups of all children that run, each with everything it started."""
        return {child.process.pid for child in self._children.values() if child.process}

    def stop(self, *, patience_seconds: float = STOP_SECONDS) -> None:
        """End all children: ask, wait for so long, then kill; nothing of them remains."""
        self._manager.stopping()
        running = [child.process for child in self._children.values() if child.process]
        for process in running:
            _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience_seconds
        while any(_is_alive(process) for process in running) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in running:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        self._children.clear()
        self._stop_guard()

    def _launch(self, child: _Child) -> None:
        program = child.program
        make_private_folder(program.log_path.parent)
        with program.log_path.open("ab") as log:
            child.process = subprocess.Popen(
                program.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(program.environment),
                cwd=make_private_folder(program.folder),
                start_new_session=True,
                umask=0o077,
            )
        self._tell_guard(f"+{child.process.pid}")
        child.num_starts += 1
        child.started = time.monotonic()

    def _bury(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        _signal_group(process.pid, signal.SIGKILL)
        self._tell_guard(f"-{process.pid}")
        now = time.monotonic()
        lived_long = now - child.started >= STEADY_SECONDS
        child.num_failures = 0 if lived_long else child.num_failures + 1
        pause = FIRST_PAUSE_SECONDS * 2 ** max(0, min(child.num_failures, 10) - 1)
        child.next_start = now if lived_long else now + min(pause, MAX_PAUSE_SECONDS)
        child.exit_code = process.returncode
        child.process = None

    def _start_guard(self) -> None:
        self._stop_guard()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", orphan_guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        for child in self._children.values():
            if child.process:
                self._tell_guard(f"+{child.process.pid}")

    def _tell_guard(self, line: str) -> None:
        if self._guard and self._guard.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(line + "\n")
                self._guard.stdin.flush()

    def _stop_guard(self) -> None:
        if self._guard is None:
            return
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
        self._guard = None


def _is_alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child or anything it started in its session still runs."""
    if process.poll() is None:
        return True
    return _signal_group(process.pid, 0)


def _signal_group(group: int, number: int) -> bool:
    """Signal every process of a session; False if none is left."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _shorten_log(path: Path) -> None:
    """Put a long log aside and begin anew; children append, so they follow."""
    with contextlib.suppress(OSError):
        if path.stat().st_size <= MAX_LOG_BYTES:
            return
        with contextlib.suppress(OSError):  # a full disk: rather no old lines than no new ones
            shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)


def _without_proxy(environment: Mapping[str, str]) -> str:
    """What must not go through a proxy: what the environment says, and this machine."""
    given = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    return ",".join(part for part in (given, LOOPBACK) if part)

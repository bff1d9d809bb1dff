"""Stopping a hospital: everything of it is gone within seconds, whatever it was doing and whatever the network does."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from client.control.orders import Order, change_orders, order
from client.control.running import LOCK_NAME, Running, is_obeyed, read_running
from federation.files import AlreadyRunning, is_locked

OBEY_SECONDS = 1.5
"""A hospital that has not seen the order by then hangs, and is killed."""
GONE_SECONDS = 8.5
"""Since the order; whoever is left then is killed."""
KILLED_SECONDS = 5.0
"""That the system may take to bury the killed."""
LOOK_SECONDS = 0.02


class StillRunning(RuntimeError):
    """Processes that cannot be ended."""

    def __init__(self, pids: tuple[int, ...]) -> None:
        super().__init__(
            f"processes {', '.join(map(str, pids))} of this hospital do not end: unplug the network, and have whoever keeps "
            "this machine restart it. The order stands: nothing takes part again before `fedcxr hospital resume`."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """How it went."""

    was_running: bool
    was_killed: bool
    """Whether it did not end by itself."""
    acknowledged_seconds: float
    gone_seconds: float


NOT_RUNNING = Stopped(
    was_running=False, was_killed=False, acknowledged_seconds=0.0, gone_seconds=0.0
)


def stop(state_path: Path, by: str, *, on_acknowledged: Callable[[], None]) -> Stopped:
    """End everything that runs for a hospital, and keep it from taking part until somebody resumes.

    Args:
        state_path: The hospital's state folder.
        by: Who orders it.
        on_acknowledged: Called as soon as nothing more can leave.

    Raises:
        StillRunning: a process cannot be ended.
        OSError: the order could not be written; what ran is gone all the same.
    """
    started, stopped = time.monotonic(), order(by)
    try:
        change_orders(state_path, lambda before: replace(before, stopped=stopped), seconds=1.0)
    except (OSError, AlreadyRunning):  # a full disk must not keep anything running
        _end(state_path, None, started, lambda: None)
        raise
    return _end(state_path, stopped, started, on_acknowledged)


def _end(
    state_path: Path, stopped: Order | None, started: float, on_acknowledged: Callable[[], None]
) -> Stopped:
    """Wait for the hospital to obey and to be gone, and help where it does not."""
    lock_path = state_path / LOCK_NAME
    running = read_running(state_path) if is_locked(lock_path) else None
    if running is None:
        return NOT_RUNNING

    def is_acknowledged() -> bool:
        obeyed = stopped is not None and is_obeyed(state_path, stopped)
        return obeyed or not is_locked(lock_path)

    def is_gone() -> bool:
        return not is_locked(lock_path) and not running.survivors()

    was_killed = not _wait(is_acknowledged, started + OBEY_SECONDS)
    if was_killed:
        _kill(running, state_path)
    acknowledged = time.monotonic()
    on_acknowledged()
    if not was_killed and not _wait(is_gone, started + GONE_SECONDS):
        was_killed = True
        _kill(running, state_path)
    if not _wait(is_gone, time.monotonic() + KILLED_SECONDS):
        raise StillRunning(running.survivors() or (running.pid,))
    return Stopped(
        was_running=True,
        was_killed=was_killed,
        acknowledged_seconds=acknowledged - started,
        gone_seconds=time.monotonic() - started,
    )


def _kill(running: Running, state_path: Path) -> None:
    """Kill the hospital; its guard, which is a process of its own, kills what it had started."""
    if running.holds(state_path / LOCK_NAME):
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)


def _wait(condition: Callable[[], bool], deadline: float) -> bool:
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True

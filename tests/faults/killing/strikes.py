"""The plan of kills, and the kill: a whole side of the federation at the same instant, by whoever reaches the point.

A side is every process that was started with its name in FEDCXR_TEST_SIDE: the coordinator's supervisor and all that
came from it, guards and errands included, or the same of one hospital. The plan is a file, so that programs that run
already follow a new one. Every kill happens once; a kill that is not the plan's first begins to count when the one before
it has happened.
"""

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

KILLS_VARIABLE, SIDE_VARIABLE = "FEDCXR_TEST_KILLS", "FEDCXR_TEST_SIDE"
PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """Who dies, and when."""

    point: str
    """Name of the point; `points` has them all."""
    nth: int
    """Which time that it is reached, from 1."""
    victim: str
    """Side that dies."""
    by: str = ""
    """Side whose programs count; empty: any."""


def write_plan(folder: Path, kills: list[Kill]) -> None:
    """Replace the plan; what was counted for an earlier one is forgotten."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    draft = folder / "draft"
    draft.write_text(json.dumps([asdict(kill) for kill in kills]))
    draft.replace(folder / PLAN)


def times_of_kills(folder: Path, kills: list[Kill]) -> list[float]:
    """When each kill of the plan happened, seconds since the epoch, as far as they did."""
    paths = [folder / f"{number}.done" for number in range(len(kills))]
    return [float(path.read_text()) for path in paths if path.exists()]


def reached(point: str) -> Kill | None:
    """Note that a point is reached; the kill, if this is the moment for one."""
    folder = Path(os.environ[KILLS_VARIABLE])
    try:
        plan = [Kill(**entry) for entry in json.loads((folder / PLAN).read_text())]
    except FileNotFoundError:
        return None
    for number, kill in enumerate(plan):
        if (folder / f"{number}.done").exists():
            continue
        mine = kill.by in {"", os.environ.get(SIDE_VARIABLE)}
        if kill.point == point and mine and _count(folder / f"{number}.count") == kill.nth:
            return kill
        return None
    return None


def strike(kill: Kill) -> None:
    """Kill the side, now; does not return in a process of that side."""
    folder = Path(os.environ[KILLS_VARIABLE])
    plan = [Kill(**entry) for entry in json.loads((folder / PLAN).read_text())]
    draft = folder / f"{os.getpid()}.draft"
    draft.write_text(repr(time.time()))
    draft.replace(folder / f"{plan.index(kill)}.done")
    kill_side(kill.victim)


def strike_at(point: str) -> None:
    """Reach a point, and kill there if this is the moment."""
    kill = reached(point)
    if kill is not None:
        strike(kill)


def kill_side(side: str) -> None:
    """Stop every process of a side before any of them can notice, then kill all of them."""
    is_own = os.environ.get(SIDE_VARIABLE) == side
    if is_own and os.fork():
        while True:  # the copy kills this process too; it has none of the threads that would end with their parent
            time.sleep(1)
    stopped: set[int] = set()
    while found := {pid for pid in processes_of(side) if pid != os.getpid()} - stopped:
        _signal_all(found, signal.SIGSTOP)
        stopped |= found
    _signal_all(stopped, signal.SIGKILL)
    while left := {pid for pid in processes_of(side) if pid != os.getpid()}:
        _signal_all(left, signal.SIGKILL)  # born meanwhile, or missed
    if is_own:
        _end()


def processes_of(side: str, *, prefix: bool = False) -> set[int]:
    """Living processes that were started for a side, or for any whose name begins so."""
    wanted = f"{SIDE_VARIABLE}={side}".encode() + (b"" if prefix else b"\0")
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes():
                    found.add(int(folder.name))
    return found


def _signal_all(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _end() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # not reached


def _count(path: Path) -> int:
    """How often this was called for a file, by all processes together."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, b".")
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        os.close(descriptor)

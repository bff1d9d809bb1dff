"""What a running hospital tells the commands beside it: who it is, which processes are its own, which order it obeys."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from client.control.orders import Order, control_folder, read_orders
from federation.files import write_file

LOCK_NAME = "node.lock"
"""In the state folder; held by `fedcxr hospital up` as long as it runs."""
RUNNING, OBEYED = "running.json", "obeyed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """The processes of a hospital that takes part."""

    pid: int
    """Of `fedcxr hospital up`."""
    groups: tuple[int, ...]
    """Process groups that it leads."""

    def holds(self, lock_path: Path) -> bool:
        """Whether it is this process, and not one that got its number later, that has a lock's file open."""
        links = Path(f"/proc/{self.pid}/fd").glob("*")
        return any(_target(link) == lock_path.resolve() for link in links)

    def survivors(self) -> tuple[int, ...]:
        """Those groups of which a process is left."""
        return tuple(group for group in self.groups if _is_alive(group))


def tell_running(state_path: Path, groups: Iterable[int]) -> None:
    """Say which processes this one has started."""
    content = {"pid": os.getpid(), "groups": sorted(groups)}
    write_file(control_folder(state_path) / RUNNING, json.dumps(content).encode())


def read_running(state_path: Path) -> Running | None:
    """What the hospital said last; whether it still runs is another question."""
    try:
        content = json.loads((control_folder(state_path) / RUNNING).read_text())
    except FileNotFoundError:
        return None
    return Running(pid=content["pid"], groups=tuple(content["groups"]))


class StopOrder:
    """The order to end that a running hospital waits for; one that stood before it began is another's."""

    def __init__(self, state_path: Path) -> None:
        self._state_path = state_path
        self._before = read_orders(state_path).stopped

    def has_come(self) -> bool:
        """Whether to end now; says so to whoever ordered it."""
        stopped = read_orders(self._state_path).stopped
        if stopped is None or stopped == self._before:
            return False
        _obey(self._state_path, stopped)
        return True

    def stands_from_before(self) -> bool:
        """Whether the hospital was stopped and nobody has lifted that."""
        return self._before is not None and read_orders(self._state_path).stopped == self._before


def is_obeyed(state_path: Path, stopped: Order) -> bool:
    """Whether the running hospital has seen an order to stop, and ends."""
    try:
        return (control_folder(state_path) / OBEYED).read_text() == _name(stopped)
    except FileNotFoundError:
        return False


def _obey(state_path: Path, stopped: Order) -> None:
    path = control_folder(state_path) / OBEYED
    if not is_obeyed(state_path, stopped):
        write_file(path, _name(stopped).encode())


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None


def _name(stopped: Order) -> str:
    return repr(stopped.seconds)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # nobody, or the number went to somebody else
        return False
    return any(_lives_in(path, group) for path in Path("/proc").glob("[0-9]*/stat"))


def _lives_in(path: Path, group: int) -> bool:
    """Whether a process belongs to a group and is more than a dead one that nobody has buried."""
    try:
        state, _, its_group, *_ = path.read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(its_group) == group and state != "Z"

"""What a hospital's people have ordered, in one small file that every process of the hospital looks at.

An order holds until it is lifted, also over restarts of the program and of the machine. A file that cannot be read
orders to stop: it is never taken for consent.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from federation.files import hold_lock, write_file

FOLDER, ORDERS = "control", "orders.json"
PATIENCE_SECONDS = 10.0
EVERY_STUDY = "*"
"""Stands for all studies, those to come among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Who ordered something, and when."""

    by: str
    seconds: float
    """Since 1970, UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """Everything that is ordered now."""

    paused: Order | None = None
    stopped: Order | None = None
    withdrawn: Mapping[str, Order] = field(default_factory=dict)
    """By study digest, or `EVERY_STUDY`."""
    num_cuts: int = 0
    """How often somebody withdrew: whatever was on its way before the last time is cut."""
    unreadable: bool = False
    """Somebody else wrote the file, or a disk damaged it."""

    def withdrawn_from(self, study_digest: str) -> bool:
        """Whether this hospital has left a study; an empty digest asks for those to come."""
        return not self.withdrawn.keys().isdisjoint({study_digest, EVERY_STUDY})


def control_folder(state_path: Path) -> Path:
    """Where orders are, and what answers them."""
    return state_path / FOLDER


def read_orders(state_path: Path) -> Orders:
    """What is ordered now; nothing where nobody ever ordered anything."""
    try:
        content = (control_folder(state_path) / ORDERS).read_bytes()
    except FileNotFoundError:
        return Orders()
    except OSError:
        return Orders(unreadable=True)
    try:
        return _orders(dict(json.loads(content)))
    except (ValueError, TypeError, KeyError):
        return Orders(unreadable=True)


def change_orders(
    state_path: Path, change: Callable[[Orders], Orders], *, seconds: float = PATIENCE_SECONDS
) -> Orders:
    """Give or lift orders; on the disk when this returns. Several people at once wait for each other, for so long.

    Returns:
        What was ordered before.

    Raises:
        AlreadyRunning: somebody else's change takes too long.
        OSError: the disk does not take it.
    """
    folder = control_folder(state_path)
    with hold_lock(folder / "orders.lock", patience_seconds=seconds):
        before = read_orders(state_path)
        after = asdict(replace(change(before), unreadable=False))
        del after["unreadable"]
        write_file(folder / ORDERS, json.dumps(after).encode())
    return before


def order(by: str) -> Order:
    """An order of now."""
    return Order(by=by, seconds=time.time())


def _orders(content: Mapping[str, object]) -> Orders:
    withdrawn = content["withdrawn"]
    if not isinstance(withdrawn, dict):
        raise TypeError
    return Orders(
        paused=_order(content["paused"]),
        stopped=_order(content["stopped"]),
        withdrawn={str(name): _required(each) for name, each in withdrawn.items()},
        num_cuts=int(str(content["num_cuts"])),
    )


def _order(content: object) -> Order | None:
    return None if content is None else _required(content)


def _required(content: object) -> Order:
    if not isinstance(content, dict):
        raise TypeError
    return Order(by=str(content["by"]), seconds=float(content["seconds"]))

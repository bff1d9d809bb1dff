"""Errands to the SuperLink, each a short process of its own.

Flower's client takes 85 MB and a second to import, and waits up to half a minute for an answer. So the supervisor,
which must stay small and must never wait, sends a child instead and hears later what came of it.
"""

import argparse
import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from federation.processes import die_with_parent

logger = logging.getLogger(__name__)

REFUSED = 75
"""Exit code of an errand to be run again: the SuperLink did not answer, or said no."""
MAX_SECONDS = 60.0
"""An errand that takes longer is ended."""

Done = Callable[["Outcome"], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an errand ended."""

    is_done: bool
    text: str
    """What it found, or why it is not done, in one line."""


class Messenger(Protocol):
    """Sends one errand at a time to the SuperLink."""

    def is_free(self) -> bool:
        """Whether an errand can be sent now."""

    def send(self, words: Sequence[str], done: Done) -> None:
        """Begin an errand; ``done`` hears how it ended."""


@dataclass(kw_only=True, slots=True)
class _Walk:
    process: subprocess.Popen[str]
    done: Done
    deadline: float


@dataclass(kw_only=True, slots=True)
class Errands:
    """Runs one errand at a time; whoever owns it calls `tend` a few times a second."""

    control_port: int
    ca_path: Path
    environment: Mapping[str, str]
    _walk: _Walk | None = None

    def is_free(self) -> bool:
        """Whether an errand can be sent now."""
        return self._walk is None

    def send(self, words: Sequence[str], done: Done) -> None:
        """Begin an errand; ``done`` is called from `tend` when it has ended."""
        where = ("--port", str(self.control_port), "--ca", str(self.ca_path))
        process = subprocess.Popen(
            [sys.executable, "-m", "server.errand", *where, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=dict(self.environment),
            text=True,
            umask=0o077,
        )
        deadline = time.monotonic() + MAX_SECONDS
        self._walk = _Walk(process=process, done=done, deadline=deadline)

    def tend(self) -> None:
        """Hear of the errand under way, without waiting for it."""
        if self._walk is None:
            return
        walk = self._walk
        if walk.process.poll() is None and time.monotonic() < walk.deadline:
            return
        self._walk = None
        walk.done(_outcome(walk.process))

    def close(self) -> None:
        """End the errand under way; nothing of it remains."""
        if self._walk is not None:
            _outcome(self._walk.process)
            self._walk = None


def _outcome(process: subprocess.Popen[str]) -> Outcome:
    process.kill()
    said, _ = process.communicate()
    lines = said.split("\n")[:-1] or [f"the SuperLink was not reached (code {process.returncode})"]
    return Outcome(is_done=process.returncode == 0, text=lines[-1])


def start_run(folder: Path, words: argparse.Namespace) -> str:
    """Submit a run of a study, unless it has one that lives; returns Flower's id of it."""
    from federation.bundle import bundle_bytes, bundle_digest  # noqa: PLC0415  only children need it
    from federation.config import study_digest  # noqa: PLC0415
    from server.control import UNREGISTERED, ControlRefused, open_control  # noqa: PLC0415
    from server.store import StudyStore  # noqa: PLC0415

    store = StudyStore(folder)
    previous = store.fact("run")
    with open_control(words.port, words.ca) as control:
        names = [node.name for node in control.nodes() if node.status != UNREGISTERED]
        for name in sorted(names):  # so that who connects first decides nothing
            store.number_site(name)
        if store.is_running():
            return previous
        with contextlib.suppress(ControlRefused, ValueError):  # none, over, or forgotten
            if control.run_status(previous) == "pending":
                return previous
            control.stop_run(previous)  # its process is dead; what it asked of hospitals is void
        run = control.start_run(
            bundle_bytes(), bundle_digest(), {"study": study_digest(store.study)}
        )
    store.set_fact("run", run)
    return run


def stop_run(run: str, words: argparse.Namespace) -> str:
    """End a run; hospitals finish the step they are in."""
    from server.control import open_control  # noqa: PLC0415  only children need Flower

    with open_control(words.port, words.ca) as control:
        control.stop_run(run)
    return run


def keep_roster(folder: Path, words: argparse.Namespace) -> str:
    """Make Flower's list of nodes equal to a folder of keys."""
    from server.control import open_control  # noqa: PLC0415  only children need Flower
    from server.roster import Roster  # noqa: PLC0415

    with open_control(words.port, words.ca) as control:
        Roster(folder=folder).sync(control)
    return str(folder)


def main() -> int:
    """Run one errand; print what it found."""
    from federation.logs import configure_logging  # noqa: PLC0415

    die_with_parent()
    configure_logging()
    words = _parse_words()
    from server.control import ControlRefused  # noqa: PLC0415  only children need Flower

    try:
        found = words.errand(words.subject, words)
    except ControlRefused as err:
        found, code = str(err), REFUSED
    else:
        code = 0
    sys.stdout.write(f"{found}\n")
    return code


def _parse_words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--ca", required=True, type=Path)
    errands = parser.add_subparsers(required=True)
    for name, errand, kind in (
        ("start", start_run, Path),
        ("stop", stop_run, str),
        ("roster", keep_roster, Path),
    ):
        each = errands.add_parser(name)
        each.add_argument("subject", type=kind)
        each.set_defaults(errand=errand)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

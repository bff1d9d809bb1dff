"""Bells: files whose times say that something may have come, so that nobody has to keep asking Flower for it.

At the coordinator, the study's process rings when it has put a question down for a hospital; the gateway, which lets the
hospital's node wait for its answer until then, hears it. The gateway rings when a hospital's node has brought an answer
and asks for work again; the study's process hears it. At a hospital, the node rings when it has fetched a message;
whatever starts tasks hears it.
A bell is a hint and nothing more: whoever waits also looks by itself now and then, whatever becomes of the files.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

QUESTIONS, ANSWERS = "questions.", "answers."
"""Followed by the hospital that a question is for, or that something came from."""
TASKS = "tasks"
"""A hospital's only one."""
LOOK_SECONDS = 0.05
"""Between two looks at a bell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bells:
    """The bells of one coordinator or hospital, for any of its processes."""

    folder: Path

    def ring(self, name: str) -> None:
        """Ring one; a disk that refuses costs whoever waits some seconds, and nothing else."""
        path, now = self.folder / name, time.time_ns()
        with contextlib.suppress(OSError):
            try:
                os.utime(path, ns=(now, now))
            except FileNotFoundError:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)

    def rung(self, name: str) -> int:
        """When one was last rung: a number that changes each time, 0 for never."""
        try:
            return (self.folder / name).stat().st_mtime_ns
        except OSError:
            return 0


def bells_of(state_path: Path) -> Bells:
    """The bells of whoever has this state folder."""
    return Bells(folder=state_path / "bells")

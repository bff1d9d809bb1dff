"""How commands speak: sentences for people, one JSON object for programs, exit codes (`federation.exit_codes`) for both."""

import errno
import json
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

PROGRAM = "fedcxr"
OWN_PACKAGES = frozenset(
    {"client", "federation", "model", "privacy", "server", "simulation", "synthesis"}
)
UNUSABLE_PLACE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    }
)
"""What the system says of a folder that cannot take what a command has to write."""


def say(line: str) -> None:
    """One line for a person, at once, also into a pipe."""
    typer.echo(line)
    sys.stdout.flush()


def emit(facts: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """A command's result: facts for a program, or text for a person."""
    say(json.dumps(facts, default=str) if as_json else text)


def program() -> str:
    """How this program was called, so that what it suggests can be typed as it stands."""
    called = Path(sys.argv[0])
    if called.name != PROGRAM or shutil.which(PROGRAM) == str(called.resolve()):
        return PROGRAM
    return str(shown(called))


def shown(path: Path) -> Path:
    """A path as short as it can be typed from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def explain(err: Exception) -> str | None:
    """What to tell whoever typed the command; None for a defect of the program.

    The text of all of this project's own exceptions was written for people.
    """
    if type(err).__module__.partition(".")[0] in OWN_PACKAGES:
        return str(err)
    if isinstance(err, OSError) and err.errno in UNUSABLE_PLACE:
        place = err.filename or "the disk"
        return f"{place} cannot be used ({err.strerror}): mend that, or name another place"
    return None


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, for commands that run until they are stopped."""
    stop = threading.Event()

    def set_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, set_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

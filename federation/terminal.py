"""How commands speak: sentences for people, one JSON object for programs, exit codes for both.

0 done; 1 a defect of the program; 2 something to mend in what was typed or in the files; 3 a study that waits
for a person; 130 interrupted.
"""

import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import typer

USAGE_ERROR = 2
INTERRUPTED = 130
OWN_PACKAGES = frozenset({"client", "federation", "model", "privacy", "server", "simulation"})


def say(line: str) -> None:
    """One line for a person, at once, also into a pipe."""
    typer.echo(line)
    sys.stdout.flush()


def emit(facts: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """A command's result: facts for a program, or text for a person."""
    say(json.dumps(facts, default=str) if as_json else text)


def is_for_people(err: BaseException) -> bool:
    """Whether an exception's text was written for whoever typed the command: all of this project's own are."""
    return type(err).__module__.partition(".")[0] in OWN_PACKAGES


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

"""One of the program's own commands again and again, beside whatever else runs.

A process of its own gives back its memory, and can be ended at any time without harm to what runs beside it.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 10.0


@contextmanager
def every(minutes: float | None, command: Sequence[str]) -> Iterator[None]:
    """Run a command whenever so many minutes have passed since it last ended; with None, never.

    Args:
        minutes: the pause.
        command: what would be typed after the program's name; it speaks for itself, also of its errors.
    """
    if minutes is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_repeat, args=(60.0 * minutes, command, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _repeat(pause_seconds: float, command: Sequence[str], over: threading.Event) -> None:
    while not over.wait(pause_seconds):
        with subprocess.Popen([sys.executable, "-m", "cli", *command]) as process:
            while process.poll() is None:
                if over.wait(_LOOK_SECONDS):
                    _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()

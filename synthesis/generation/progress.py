"""How far the drawing is: a bar on a terminal, silence everywhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

OnProgress = Callable[[int, int], None]
"""Takes the pictures that are done and all pictures."""


def no_progress(_done: int, _all: int) -> None:
    """Say nothing."""


@contextmanager
def drawing_bar() -> Iterator[OnProgress]:
    """A bar on standard error, gone when the result stands on standard output."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    columns = (
        TextColumn("drawing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("drawing", total=None)
        yield lambda num_done, num_all: bar.update(task, completed=num_done, total=num_all)

"""How far an evaluation is: a line on a terminal, silence everywhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from synthesis.evaluation.drawn import OnProgress


def no_progress(_what: str, _done: int, _all: int) -> None:
    """Say nothing."""


@contextmanager
def evaluation_bar() -> Iterator[OnProgress]:
    """A line on standard error that says what is going on, gone when the result stands on standard output."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening", total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total
        )

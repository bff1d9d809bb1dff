"""How far a stress test is: a bar on a terminal, silence everywhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from synthesis.stress.run import OnProgress


@contextmanager
def stage_bar() -> Iterator[OnProgress]:
    """A bar on standard error for the stage under way, gone when the result stands on standard output."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _all: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda what, num_done, num_all: bar.update(
            task, description=what, completed=num_done, total=num_all
        )

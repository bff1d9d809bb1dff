"""How far an ingest is: a bar on a terminal, silence everywhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from client.intake.reading import OnProgress


@contextmanager
def reading_bar() -> Iterator[OnProgress | None]:
    """A function to call with the files read and the files to be read; None without a terminal.

    The bar goes to standard error, and is gone when the result stands on standard output.
    """
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda num_done, num_all: bar.update(task, completed=num_done, total=num_all)

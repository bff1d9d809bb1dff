"""How far a distillation is: one bar for the teacher's pictures, one for the student's steps."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from synthesis.distillation.distil import OnProgress


def no_progress(_what: str, _done: int, _of: int, _loss: float | None) -> None:
    """Say nothing."""


@contextmanager
def distillation_bars() -> Iterator[OnProgress]:
    """Bars on standard error, gone when the result stands on standard output."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {
            what: bars.add_task(what, total=None, start=False, loss="")
            for what in ("drawing", "training")
        }

        def show(what: str, done: int, of: int, loss: float | None) -> None:
            task, text = tasks[what], "" if loss is None else f"loss {loss:.4f}"
            bars.start_task(task)
            bars.update(task, completed=done, total=of, loss=text)

        yield show

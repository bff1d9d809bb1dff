"""A study's progress for a person: a live table on a terminal, plain lines everywhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from federation.messages import RefusalCode
from server.records import Part, RoundRecord
from server.status import StudyStatus, study_status
from server.store import StudyStore

OnChange = Callable[[StudyStore], None]
STATES = {"asked": "training", "admitted": "done", "refused": "refused", "waiting": "waits"}
WAITS = {RefusalCode.UNAPPROVED: "waits for approval", RefusalCode.PAUSED: "is paused"}
"""What a hospital that takes no part yet is waiting for, by the code of what it says."""


@contextmanager
def show_progress(write: Callable[[str], None]) -> Iterator[OnChange]:
    """A function to call whenever a study may have changed.

    Args:
        write: Takes one plain line; used when standard output is not a terminal.
    """
    if not sys.stdout.isatty():
        yield PlainProgress(write)
        return
    with Live(console=Console(), refresh_per_second=2, transient=False) as live:
        yield lambda store: live.update(table(study_status(store)))


class PlainProgress:
    """One line per committed round, per refused update, and per reason to wait; says nothing twice."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._said: set[tuple[object, ...]] = set()
        self._state = ("", "")

    def __call__(self, store: StudyStore) -> None:
        """Write what is new."""
        status = study_status(store)
        self._say_state(status)
        for part in status.parts:
            if part.state == "refused":
                self._say(("part", part.number, part.site, part.attempt), _refusal_line(part))
            if part.state == "waiting":
                self._say(("waits", part.number, part.site, part.code), _waiting_line(part))
        for record in status.rounds:
            self._say(("round", record.number), _round_line(status, record))

    def _say_state(self, status: StudyStatus) -> None:
        """Why nothing happens, and that something happens again."""
        before, self._state = self._state, (status.state, status.reason)
        if before != self._state and "waiting" in {before[0], status.state}:
            self._write(f"{status.name}: {': '.join(filter(None, self._state))}")

    def _say(self, key: tuple[object, ...], line: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._write(line)


def table(status: StudyStatus) -> Group:
    """The live view: one line for the study, one row per hospital."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("hospital")
    for column in ("state", "usable / files", "loss", "held-out", "MB down", "MB up"):
        rows.add_column(column, justify="right")
    rows.add_column("remark")
    for part in status.latest_parts:
        rows.add_row(part.site, *_cells(part), Text(part.reason))  # never read as markup
    reason = [Text(f"  {status.reason}")] if status.reason else []  # never read as markup
    return Group(Text(headline(status), style="bold"), *reason, rows)


def headline(status: StudyStatus) -> str:
    """Where the study stands, in one line."""
    down, up = status.traffic()
    left = status.seconds_left
    when = f", {clock(left)} left" if left is not None and status.state == "running" else ""
    return (
        f"{status.name}: {status.state}, round {status.current} of {status.num_rounds} ({status.stage}){when}, "
        f"{down:.1f} MB down, {up:.1f} MB up"
    )


def last_sign(part: Part, now: float) -> str:
    """When a hospital was last heard of or asked, for a person."""
    return f", {clock(max(0.0, now - part.time))} ago" if part.time else ""


def part_line(part: Part, now: float) -> str:
    """A hospital's part in the current round, for a person."""
    if part.state == "waiting":
        return f"{part.site}: {WAITS[RefusalCode(part.code)]}{last_sign(part, now)}"
    return f"{part.site}: {part.state}{last_sign(part, now)} {part.reason}".rstrip()


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, and hours if there are any."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes:02}:{rest:02}"
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def _cells(part: Part) -> tuple[str, ...]:
    counts = f"{part.num_records} / {part.num_files}" if part.num_files else "not shared"
    return (
        STATES.get(part.state, part.state),
        counts if part.state == "admitted" else "",
        _number(part.loss),
        _number(part.held_out_loss),
        f"{part.bytes_down / 1e6:.1f}",
        f"{part.bytes_up / 1e6:.1f}",
    )


def _round_line(status: StudyStatus, record: RoundRecord) -> str:
    parts = [p for p in status.parts if p.number == record.number and p.state == "admitted"]
    usable = sum(part.num_records for part in parts)
    files = sum(part.num_files for part in parts)
    counts = f", {usable} of {files} files usable" if files else ""
    down, up = status.traffic(number=record.number)
    left = status.seconds_left
    when = f", {clock(left)} left" if left else ""
    return (
        f"round {record.number} of {status.num_rounds}: {_hospitals(record.num_sites)}"
        f"{_named('loss', record.loss)}{_named('held-out', record.held_out_loss)}{counts}, "
        f"{down:.1f} MB down, {up:.1f} MB up{when}"
    )


def _named(name: str, value: float | None) -> str:
    """Nothing for a number that stays at the hospitals."""
    number = _number(value)
    return f", {name} {number}" if number else ""


def _hospitals(count: int) -> str:
    return "1 hospital" if count == 1 else f"{count} hospitals"


def _refusal_line(part: Part) -> str:
    return f"round {part.number}: {part.site} does not count ({part.code}): {part.reason}"


def _waiting_line(part: Part) -> str:
    waits = WAITS[RefusalCode(part.code)]
    return f"round {part.number}: {part.site} {waits} and is asked again ({part.reason})"


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.4f}"  # noqa: PLR0124  NaN

"""A study's rounds as curves, for the tools that people look at curves with."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from federation.files import write_file
from server.operations.event_file import Point, event_file
from server.store import StudyStore

OF_ROUND = ("loss", "held_out_loss", "seconds", "num_sites", "gap")
OF_PART = ("loss", "held_out_loss", "norm", "seconds", "bytes_down", "bytes_up")


class NoRounds(ValueError):
    """A study without anything to show."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has no committed round yet: export it when it has one")


def export(store: StudyStore, folder: Path, kind: str) -> Path:
    """Write a study's numbers into a folder, over what was exported of it before.

    Args:
        store: the study; it may be running.
        folder: made if it is missing.
        kind: ``tensorboard``, ``csv`` or ``json``.

    Raises:
        NoRounds: nothing was committed yet.
    """
    points = list(points_of(store))
    if not points:
        raise NoRounds(store.study.name)
    name, encode = _WRITERS[kind]
    path = folder / name.format(study=store.study.name)
    write_file(path, encode(points), mode=0o644)
    return path


def points_of(store: StudyStore) -> Iterator[Point]:
    """Every number of every committed round, of the study and of each hospital in it; what is not known is left out."""
    rounds = store.rounds()
    when = {record.number: record.committed for record in rounds}
    for record in rounds:
        for name in OF_ROUND:
            yield from _point(f"round/{name}", record.number, getattr(record, name), when)
    for part in store.parts():
        if part.state == "admitted" and part.number in when:
            for name in OF_PART:
                tag = f"{part.site}/{name}"
                yield from _point(tag, part.number, getattr(part, name), when)


def _point(
    tag: str, number: int, value: float | None, when: Mapping[int, float]
) -> Iterator[Point]:
    if value is not None and math.isfinite(value):
        yield Point(tag=tag, step=number, value=float(value), seconds=when[number])


def _tensorboard(points: Sequence[Point]) -> bytes:
    return b"".join(event_file(points, began=min(point.seconds for point in points)))


def _csv(points: Sequence[Point]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(("round", "of", "what", "value", "committed"))
    for point in points:
        of, what = point.tag.rsplit("/", 1)
        table.writerow((point.step, of, what, repr(point.value), repr(point.seconds)))
    return text.getvalue().encode()


def _json(points: Sequence[Point]) -> bytes:
    curves: dict[str, list[dict[str, float]]] = {}
    for point in points:
        entry = {"round": point.step, "value": point.value, "committed": point.seconds}
        curves.setdefault(point.tag, []).append(entry)
    return json.dumps({"curves": curves}, indent=1).encode()


_WRITERS: Mapping[str, tuple[str, Callable[[Sequence[Point]], bytes]]] = {
    "tensorboard": ("{study}/events.out.tfevents.0.fedcxr", _tensorboard),
    "csv": ("{study}.csv", _csv),
    "json": ("{study}.json", _json),
}

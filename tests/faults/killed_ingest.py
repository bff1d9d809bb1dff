"""Kills an ingest at one instant after another, kills the next, and ingests again: a program of its own, as it forks.

Called with a folder, every how many instants to kill, and whether to `add` what is new or to `rebuild`. An instant is the moment before a name on the disk
changes, before something is made durable, or before the journal is asked or told something. Prints a line for
each kill, `same` if what a training sees afterwards is what an undisturbed ingest gives, and how many instants
there were.
"""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import client.cache.shards
import client.intake.ingest
from client.cache.records import open_cache_of
from client.config import SiteConfig
from client.dicom.outcome import Identity, Outcome, Radiograph
from client.dicom.rejection import Reason, Rejection
from client.intake.ingest import ingest_from
from client.sources.item import Item
from model.conditioning import Metadata
from tests.faults.mortal import dies_after, mortal

SIZE = 8
DISTURBED = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir")
BEFORE = {f"{name}": "old" for name in range(11)}
AFTER = (
    {f"{name}": "old" for name in range(4, 11)} | {"5": "new"} | {f"{n}": "" for n in range(20, 29)}
)


class Archive:
    """A source whose items hold nothing but their names."""

    origin = "archive"
    mirrored = True

    def __init__(self, folder: Path, items: dict[str, str]) -> None:
        self._folder, self._items = folder, items

    def items(self) -> Iterator[Item]:
        """By name and version."""
        return (Item(name=name, version=version) for name, version in self._items.items())

    def file_of(self, item: Item, scratch: Path) -> Path:
        """A file that has to be made."""
        path = scratch / f"{item.name}-{item.version}"
        path.write_text(item.name)
        return path

    def settled(self, item: Item) -> None:
        """Nothing waits."""


def read_names(
    jobs: Iterator[tuple[object, Path]], **_: object
) -> Generator[tuple[object, Outcome], None, None]:
    """Every fourth item is refused; the picture of each other is drawn from its name."""
    for job, path in jobs:
        number = int(path.read_text())
        yield (
            job,
            Rejection(reason=Reason.BLANK) if number % 4 == 3 else radiograph(path.name, number),
        )


def radiograph(version: str, number: int) -> Radiograph:
    """A picture of noise."""
    image = np.random.default_rng(number).integers(0, 2**16, (SIZE, SIZE), np.uint16)
    return Radiograph(
        image=image,
        metadata=Metadata(
            age=float(number), sex="F", view="PA", race=None, site=None, manufacturer=1, findings={}
        ),
        identity=Identity(
            instance_uid=f"1.{number}",
            study_uid=f"2.{number}",
            accession="",
            patient_id=f"P{number // 2}",
            issuer="",
        ),
        pixel_digest=f"{version:>32}".encode(),
    )


class Mortal(sqlite3.Connection):
    """A connection with an instant before everything that is said to the journal."""

    instant: Callable[[], None] = staticmethod(lambda: None)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401
        """As usual, if we live."""
        self.instant()
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401
        """As usual, if we live."""
        self.instant()
        return super().executemany(*arguments)


def die_at(number: int) -> None:
    """Have this process killed at an instant."""
    instant = dies_after(number)
    for name in DISTURBED:
        setattr(os, name, mortal(getattr(os, name), instant))
    connect = sqlite3.connect
    Mortal.instant = staticmethod(instant)
    sqlite3.connect = lambda *names, **choices: connect(*names, factory=Mortal, **choices)  # type: ignore[assignment]


def content_of(site: SiteConfig) -> tuple[bytes, ...]:
    """Everything that a training sees; every picture is verified on the way."""
    records = open_cache_of(site)
    arrays = (records.images[:], records.rows, records.patients, records.held_out)
    return (*(array.tobytes() for array in arrays), str(records.tally).encode())


def site_in(folder: Path) -> SiteConfig:
    """A hospital without any configured source of its own."""
    return SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=folder / "ca.crt",
        data_path=folder / "nowhere",
        state_path=folder,
        image_size=SIZE,
    )


def main(folder: Path, step: int, *, rebuild: bool) -> None:
    """Kill at every instant until an ingest gets through."""
    vars(client.intake.ingest)["read_all"] = read_names
    client.cache.shards.MAX_RECORDS = 3
    before, after = Archive(folder, BEFORE), Archive(folder, AFTER)
    start, site = site_in(folder / "start"), site_in(folder / "killed")
    ingest_from([before], start)
    old = content_of(start)
    shutil.copytree(folder / "start", folder / "undisturbed")
    ingest_from([after], site_in(folder / "undisturbed"))
    new = content_of(site_in(folder / "undisturbed"))
    assert old != new
    for number in count(0, step):
        shutil.rmtree(site.state_path, ignore_errors=True)
        shutil.copytree(folder / "start", site.state_path)
        if not killed(number, after, site, rebuild=rebuild):
            sys.stdout.write(f"{number} instants\n")
            return
        whole = content_of(site) in {old, new}
        killed(number // 2, after, site, rebuild=False)
        whole &= content_of(site) in {old, new}
        ingest_from([after], site)
        leftovers = [path.name for path in site.state_path.rglob(".*") if path.name != ".lock"]
        same = whole and content_of(site) == new and not leftovers
        sys.stdout.write(f"killed at {number}: {'same' if same else 'different'}\n")


def killed(number: int, source: Archive, site: SiteConfig, *, rebuild: bool) -> bool:
    """Ingest in a process that dies at an instant; False if it lived to the end."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            die_at(number)
            ingest_from([source], site, rebuild=rebuild)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), rebuild=sys.argv[3] == "rebuild")

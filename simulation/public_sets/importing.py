"""A public set -> folders of hospitals: patients dealt, radiographs written, labels beside them.

The set's tables are gone through several times, so that hardly more than a name per patient is held: to count, to
deal the patients, and to write. Typed again, the same import goes on where it was stopped.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from federation.files import write_file
from simulation.public_sets.counts import Counts, Fate, ImportSummary
from simulation.public_sets.findings import SetFindings, read_findings
from simulation.public_sets.label_file import LabelFile
from simulation.public_sets.partition import HELD_OUT, Partition, deal
from simulation.public_sets.picture import PictureDamaged, PictureInColour
from simulation.public_sets.record import PublicRecord, PublicSet
from simulation.public_sets.study_file import write_simulation
from simulation.public_sets.writing import dicom_file, file_place

MARK = "import.json"

_IN_HAND = 64
"""Radiographs that are worked on at a time."""

OnProgress = Callable[[int, int], None]
"""Told how many radiographs of how many are done."""


class OtherImport(RuntimeError):
    """The folder belongs to something else."""

    def __init__(self, out: Path) -> None:
        super().__init__(f"{out} holds something else: name a new folder, or remove this one")


class NoPictures(ValueError):
    """A hospital would be empty."""

    def __init__(self, site: str, source: Path) -> None:
        super().__init__(
            f"{source} has no usable picture for {site}: the tables name pictures that are not there, or cannot "
            "be read. Unpack all of the set, or give a smaller --limit or other --by."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportPlan:
    """What is imported, and how."""

    public_set: PublicSet
    source: Path
    """The set, as it was downloaded and unpacked."""
    partition: Partition
    limit: int | None = None
    """Only so many of the radiographs that the tables name, from the first on."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides what is written."""
        choices = [self.public_set.name, self.limit, asdict(self.partition)]
        return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()


def import_set(plan: ImportPlan, out: Path, *, on_progress: OnProgress) -> ImportSummary:
    """Write a folder per hospital with `dicom/` and `labels.csv`, one for the held-out set, and `simulation.yaml`.

    Raises:
        WrongFolder: the source is not this set.
        PartitionImpossible: its patients cannot be dealt so.
        OtherImport: the folder holds something else.
        NoPictures: a hospital would be empty.
    """
    findings = read_findings(plan.public_set, plan.source)
    counts, num_records = Counts(), sum(1 for _ in _records(plan, findings))
    sites = deal(_records(plan, findings), plan.partition)
    _claim(out, plan)
    with ExitStack() as stack:
        labels = {
            site: stack.enter_context(LabelFile(out / site / "labels.csv", plan.public_set.name))
            for site in sorted({*sites.values()})
        }
        for record, fate in _written(plan, _records(plan, findings), sites, out):
            counts.add(sites[record.patient], record, fate)
            if fate.is_there:
                labels[sites[record.patient]].add(record)
            on_progress(counts.num_done, num_records)
        _check_all_have(labels, counts, plan)
    write_simulation(out, plan.public_set, sorted({*sites.values()} - {HELD_OUT}))
    return counts.summary(sites, findings.problems)


def _records(plan: ImportPlan, findings: SetFindings) -> Iterator[PublicRecord]:
    """The set's radiographs with their findings, up to the limit."""
    return map(findings.join, islice(plan.public_set.records(plan.source), plan.limit))


def _written(
    plan: ImportPlan, records: Iterator[PublicRecord], sites: Mapping[str, str], out: Path
) -> Iterator[tuple[PublicRecord, Fate]]:
    """Write the radiographs on all processors, in the order of the tables."""

    def write(record: PublicRecord) -> Fate:
        path = out / sites[record.patient] / "dicom" / file_place(record)
        return _write(path, partial(dicom_file, plan.public_set.name, record))

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # what pydicom finds odd in a header is not ours to mend
        while batch := list(islice(records, _IN_HAND)):
            yield from zip(batch, pool.map(write, batch), strict=True)


def _write(path: Path, content: Callable[[], bytes]) -> Fate:
    """Write a file completely or not at all; one that is there stays as it is."""
    if path.exists():
        return Fate.KEPT
    try:
        written = content()
    except FileNotFoundError:
        return Fate.MISSING
    except PictureInColour:
        return Fate.IN_COLOUR
    except (PictureDamaged, PermissionError, IsADirectoryError):
        return Fate.UNREADABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_bytes(written)
    draft.replace(path)
    return Fate.WRITTEN


def _claim(out: Path, plan: ImportPlan) -> None:
    """Make the folder this import's: a new one, or the one it was begun in."""
    mark = out / MARK
    content = json.dumps({"set": plan.public_set.name, "digest": plan.digest}).encode()
    taken = mark.read_bytes() != content if mark.exists() else out.exists() and any(out.iterdir())
    if taken:
        raise OtherImport(out)
    write_file(mark, content)


def _check_all_have(sites: Iterable[str], counts: Counts, plan: ImportPlan) -> None:
    for site in sites:
        if not counts.records[site]:
            raise NoPictures(site, plan.source)

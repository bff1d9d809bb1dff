"""A folder of DICOM files -> the hospital's cache, the same to the last bit whatever the order of files."""

import hashlib
import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache.writer import cache_draft, publish
from client.dicom.outcome import Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection
from client.labels.table import NO_LABELS, Labels, read_labels
from client.sources.folder import find_files
from client.tally import Tally
from model.conditioning import Schema
from privacy.patient import (
    load_or_create_secret,
    patient_key,
    record_key,
    unknown_patient_key,
)

logger = logging.getLogger(__name__)

Outcome = Radiograph | Rejection
Progress = Callable[[int, int], None]
"""Called with the files done and the files in all."""

DEFAULT_POLICY = ReadPolicy()

PIPELINE_VERSION = 1
"""Raised whenever the same file and settings would give another record."""

HELD_OUT_ONE_IN = 10
_PIXELS = "pixels"
_WORKERS_PAY_FROM_BYTES = 2**28
_WORKERS_PAY_FROM_FILES = 2000


class NoUsableRadiograph(ValueError):
    """The folder was read to its end and nothing in it can be used."""

    def __init__(self, path: Path, tally: Tally) -> None:
        super().__init__(
            f"No usable radiograph in {path}: {tally}. The data manager points the data folder at chest "
            "radiographs in DICOM (CR or DX) and types the same command again."
        )


class ReaderKilled(RuntimeError):
    """The operating system ended a reading process."""

    def __init__(self) -> None:
        super().__init__(
            "A reading process was killed, most likely because memory ran out. The operator frees memory "
            "or lowers the number of workers to 1, and types the same command again."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """What is kept of a radiograph besides its pixels, which wait on disk."""

    order: int
    pixel_digest: bytes
    row: NDArray[np.float32]
    patient: int
    labelled: bool
    position: int
    """Place among the pixels on disk."""

    @property
    def sort_key(self) -> tuple[int, bytes, bytes, int]:
        """Decided by content alone, also between copies that share an identifier."""
        return self.order, self.pixel_digest, self.row.tobytes(), self.patient


@dataclass(frozen=True, kw_only=True, slots=True)
class _Records:
    """Entries in their final order, with what is decided per patient."""

    entries: list[_Entry]
    patients: NDArray[np.uint64]
    held_out: NDArray[np.bool_]

    @property
    def rows(self) -> NDArray[np.float32]:
        """(n, attribute)."""
        return np.stack([entry.row for entry in self.entries])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Keys:
    """Turns identifiers into opaque keys; identifiers end here."""

    secret: bytes = field(repr=False)
    schema: Schema
    labels: Labels

    def entry_of(self, radiograph: Radiograph, *, position: int) -> _Entry:
        identity = radiograph.identity
        findings = self.labels.of_study(identity.study_uid)
        patient = patient_key(self.secret, patient_id=identity.patient_id, issuer=identity.issuer)
        # Files without an identifier must not be duplicates of each other: their pixels name them.
        name = identity.instance_uid or radiograph.pixel_digest.hex()
        return _Entry(
            order=record_key(self.secret, instance_uid=name),
            pixel_digest=radiograph.pixel_digest,
            row=self.schema.row(replace(radiograph.metadata, findings=findings)),
            patient=patient,
            labelled=identity.study_uid in self.labels.by_study,
            position=position,
        )


def ingest(
    data_path: Path,
    *,
    labels_path: Path | None,
    cache_path: Path,
    secret_path: Path,
    image_size: int,
    findings: tuple[str, ...],
    policy: ReadPolicy = DEFAULT_POLICY,
    num_workers: int = 2,
    on_progress: Progress | None = None,
) -> Tally:
    """Read every file below a folder and, once all is whole, replace the cache by what is usable.

    Raises:
        DataFolderMissing, LabelsUnusable, SecretUnusable, CacheBusy, NoUsableRadiograph, ReaderKilled: each
            with one sentence for the person who can help; the cache is as before.
    """
    files = [file for file in find_files(data_path) if not _is_same(file, labels_path)]
    labels = NO_LABELS if labels_path is None else read_labels(labels_path, findings)
    keys = _Keys(secret=load_or_create_secret(secret_path), schema=Schema(findings), labels=labels)
    read = partial(read_file, image_size=image_size, policy=policy)
    with cache_draft(cache_path) as draft:
        outcomes = _with_progress(_read_all(files, read, num_workers), len(files), on_progress)
        records, refused = _gather(outcomes, draft / _PIXELS, keys)
        tally = _tally(records, refused, labels, num_files=len(files))
        if not records.entries:
            raise NoUsableRadiograph(data_path, tally)
        publish(
            draft,
            cache_path,
            images=_stored_images(draft / _PIXELS, records.entries, image_size),
            image_size=image_size,
            rows=records.rows,
            patients=records.patients,
            held_out=records.held_out,
            findings=findings,
            tally=tally,
            settings=settings_digest(image_size=image_size, findings=findings, policy=policy),
        )
    logger.info("ingest finished: usable=%d files=%d", tally.num_usable, tally.num_files)
    return tally


def settings_digest(*, image_size: int, findings: tuple[str, ...], policy: ReadPolicy) -> str:
    """SHA-256 of everything but the files themselves that decides what a cache holds."""
    settings = {
        "pipeline": PIPELINE_VERSION,
        "image_size": image_size,
        "findings": findings,
        "policy": asdict(policy),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _is_same(file: Path, other: Path | None) -> bool:
    return other is not None and file == other.resolve()


def _read_all(
    files: list[Path], read: Callable[[Path], Outcome], num_workers: int
) -> Iterator[Outcome]:
    """Read every file, in order; in several processes if starting them costs less than they save."""
    num_bytes = sum(file.lstat().st_size for file in files)
    pays = num_bytes >= _WORKERS_PAY_FROM_BYTES or len(files) >= _WORKERS_PAY_FROM_FILES
    if num_workers == 1 or not pays:
        yield from map(read, files)
        return
    # A fresh interpreter for each worker: forking a process that runs torch or Flower threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as workers:
        try:
            yield from workers.map(read, files, chunksize=8)
        except BrokenProcessPool:
            raise ReaderKilled from None


def _with_progress(
    outcomes: Iterable[Outcome], num_files: int, on_progress: Progress | None
) -> Iterator[Outcome]:
    for num_done, outcome in enumerate(outcomes, start=1):
        yield outcome
        if on_progress is not None:
            on_progress(num_done, num_files)


def _gather(
    outcomes: Iterable[Outcome], pixels_path: Path, keys: _Keys
) -> tuple[_Records, Mapping[Reason, int]]:
    """Put the pixels on disk as they come, keep the rest, and count the refusals."""
    entries: list[_Entry] = []
    refused: Counter[Reason] = Counter()
    with pixels_path.open("wb") as pixels:
        for outcome in outcomes:
            if isinstance(outcome, Rejection):
                refused[outcome.reason] += 1
            else:
                pixels.write(outcome.image.tobytes())
                entries.append(keys.entry_of(outcome, position=len(entries)))
    kept = _without_duplicates(entries)
    refused[Reason.DUPLICATE] += len(entries) - len(kept)
    return _arrange(kept, keys), +refused


def _without_duplicates(entries: list[_Entry]) -> list[_Entry]:
    """Sort, and keep one entry for each identifier and for each picture."""
    kept: list[_Entry] = []
    seen: set[int | bytes] = set()
    for entry in sorted(entries, key=lambda entry: entry.sort_key):
        if entry.order not in seen and entry.pixel_digest not in seen:
            kept.append(entry)
        seen |= {entry.order, entry.pixel_digest}
    return kept


def _arrange(entries: list[_Entry], keys: _Keys) -> _Records:
    """Hold out whole patients, about one in ten; never the unknown one, who may be everybody."""
    patients = np.array([entry.patient for entry in entries], np.uint64)
    chosen = patients % np.uint64(HELD_OUT_ONE_IN) == 0
    held_out = chosen & (patients != np.uint64(unknown_patient_key(keys.secret)))
    return _Records(entries=entries, patients=patients, held_out=held_out)


def _tally(
    records: _Records, refused: Mapping[Reason, int], labels: Labels, *, num_files: int
) -> Tally:
    return Tally(
        num_files=num_files,
        num_usable=len(records.entries),
        refused=refused,
        num_patients=len(set(records.patients.tolist())),
        num_held_out=int(records.held_out.sum()),
        num_labelled=sum(entry.labelled for entry in records.entries),
        label_problems=labels.problems,
    )


def _stored_images(
    path: Path, entries: list[_Entry], image_size: int
) -> Iterator[NDArray[np.uint16]]:
    """Pictures in the order of the entries, fetched from where they were put while reading."""
    stored = np.memmap(path, np.uint16, mode="r").reshape(-1, image_size, image_size)
    for entry in entries:
        yield stored[entry.position]

"""Writing a new version of the cache so that a crash at any moment leaves a whole one in place.

A version is written to a draft folder, synced, renamed, and only then named by the file `current`, which
is itself replaced by a rename. Until that last rename the old version is the cache; after it, the new.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from client.cache.layout import (
    CACHE_FORMAT,
    CURRENT,
    HELD_OUT,
    IMAGES,
    MANIFEST,
    PATIENTS,
    ROWS,
    VERSION_PREFIX,
    Manifest,
    digest_of,
)
from client.tally import Tally

_LOCK = ".lock"
_DRAFT_PREFIX = ".draft-"


class CacheBusy(RuntimeError):
    """Two ingests want to write the same cache."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"Another ingest is writing the cache in {path}. Wait until it has finished, then type the "
            "same command again."
        )


@contextmanager
def cache_draft(path: Path) -> Iterator[Path]:
    """Give a draft folder on the cache's disk, and remove it, and those of killed runs, at the end.

    Raises:
        CacheBusy: another process has a draft of this cache.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (path / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CacheBusy(path) from None
        _remove_leftovers(path)
        draft = path / f"{_DRAFT_PREFIX}{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def publish(
    draft: Path,
    path: Path,
    *,
    images: Iterable[NDArray[np.uint16]],
    image_size: int,
    rows: NDArray[np.float32],
    patients: NDArray[np.uint64],
    held_out: NDArray[np.bool_],
    findings: tuple[str, ...],
    tally: Tally,
    settings: str,
) -> Manifest:
    """Write n records into the draft, as given by `cache_draft`, and make them the cache.

    The images, n of (image_size, image_size), are consumed once; rows are (n, attribute), ending with the
    findings; patients and held_out are (n,); settings digests what decides how a file becomes a record.
    """
    folder = draft / "contents"
    folder.mkdir(mode=0o700)
    _write_images(folder / IMAGES, images, (len(rows), image_size, image_size))
    _write_arrays(folder, {ROWS: rows, PATIENTS: patients, HELD_OUT: held_out})
    manifest = Manifest(
        format=CACHE_FORMAT,
        image_size=image_size,
        findings=findings,
        num_records=len(rows),
        tally=tally,
        settings=settings,
        files={name: digest_of(folder / name) for name in (IMAGES, ROWS, PATIENTS, HELD_OUT)},
    )
    _write_text(folder / MANIFEST, _manifest_text(manifest))
    _sync_folder(folder)
    _make_current(folder, path)
    return manifest


def _write_arrays(folder: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    for name, array in arrays.items():
        with (folder / name).open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())


def _manifest_text(manifest: Manifest) -> str:
    content = asdict(manifest) | {"tally": manifest.tally.to_json()}
    return json.dumps(content, indent=2, sort_keys=True)


def _write_images(
    path: Path, images: Iterable[NDArray[np.uint16]], shape: tuple[int, int, int]
) -> None:
    array = open_memmap(path, mode="w+", dtype=np.uint16, shape=shape)
    for index, image in enumerate(images):
        array[index] = image
    array.flush()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _make_current(folder: Path, path: Path) -> None:
    name = f"{VERSION_PREFIX}{secrets.token_hex(8)}"
    folder.rename(path / name)
    _sync_folder(path)
    pointer = path / f"{_DRAFT_PREFIX}{name}"
    _write_text(pointer, name)
    pointer.replace(path / CURRENT)
    _sync_folder(path)
    _remove_leftovers(path)


def _remove_leftovers(path: Path) -> None:
    """Delete drafts of killed runs and versions that are no longer current.

    A training that still has an old version open keeps reading it: the disk frees it afterwards.
    """
    pointer = path / CURRENT
    current = pointer.read_text(encoding="ascii").strip() if pointer.exists() else ""
    for found in path.iterdir():
        if found.name.startswith(VERSION_PREFIX) and found.name != current:
            shutil.rmtree(found)
        elif found.name.startswith(_DRAFT_PREFIX):
            shutil.rmtree(found) if found.is_dir() else found.unlink()


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

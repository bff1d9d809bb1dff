"""Writing a new version of the cache so that a crash at any moment leaves a whole one in place.

A version is written to a draft folder, synced, renamed, and only then named by the file `current`, which
is itself replaced by a rename. Until that last rename the old version is the cache; after it, the new.
"""

import fcntl
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache.layout import (
    CACHE_FORMAT,
    CURRENT,
    DRAFT_PREFIX,
    HELD_OUT,
    MANIFEST,
    PATIENTS,
    PLACES,
    ROWS,
    VERSION_PREFIX,
    Manifest,
    array_context,
)
from client.cache.seal import Seal
from client.cache.stock import Stock, remove_stocks_but
from client.tally import Tally
from federation.files import make_private_folder, sync_folder, write_file

_LOCK = ".lock"


class CacheBusy(RuntimeError):
    """Two ingests want to write the same cache."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"Another ingest is writing the cache in {path}. Wait until it has finished, then type the "
            "same command again."
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Contents:
    """n records in their final order."""

    rows: NDArray[np.float32]
    """(n, attribute), ending with the findings."""
    patients: NDArray[np.uint64] = field(repr=False)
    """(n,)."""
    held_out: NDArray[np.bool_]
    """(n,)."""
    shards: tuple[str, ...]
    """Names of the shards that hold the pixels."""
    places: NDArray[np.uint32]
    """(n, 2): which of the shards, and which slot in it."""
    findings: tuple[str, ...]
    tally: Tally


@contextmanager
def cache_lock(path: Path) -> Iterator[Path]:
    """Be the one that writes a cache; gives a scratch folder on its disk.

    The scratch folder goes at the end, and whatever killed runs left goes at the beginning.

    Raises:
        CacheBusy: another process writes this cache.
    """
    make_private_folder(path)
    with (path / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CacheBusy(path) from None
        _remove_leftovers(path)
        scratch = make_private_folder(path / f"{DRAFT_PREFIX}{secrets.token_hex(8)}")
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def publish(stock: Stock, contents: Contents) -> Manifest:
    """Make records of a stock the cache, and remove what it no longer needs."""
    path, name = stock.cache_path, f"{VERSION_PREFIX}{secrets.token_hex(8)}"
    folder = make_private_folder(path / f"{DRAFT_PREFIX}{name}")
    manifest = Manifest(
        format=CACHE_FORMAT,
        key_mark=stock.key_mark,
        stock=stock.folder.name,
        shards=contents.shards,
        image_size=stock.image_size,
        findings=contents.findings,
        num_records=len(contents.rows),
        tally=contents.tally,
        settings=stock.settings,
        files=_write_arrays(folder, name, contents, stock.seal),
    )
    text = manifest.to_text()
    write_file(folder / MANIFEST, text.encode())
    folder.rename(path / name)
    sync_folder(path)
    mark = stock.seal.seal(hashlib.sha256(text.encode()).digest(), name)
    write_file(path / CURRENT, f"{name} {mark.hex()}\n".encode())
    _remove_leftovers(path)
    remove_stocks_but(path, frozenset({stock.folder.name}))
    stock.remove_unused(frozenset(contents.shards))
    return manifest


def withdraw(path: Path) -> None:
    """Have no cache any more: a training that starts from now on finds none."""
    (path / CURRENT).unlink(missing_ok=True)
    sync_folder(path)
    _remove_leftovers(path)


def _write_arrays(folder: Path, version: str, contents: Contents, seal: Seal) -> dict[str, str]:
    """Write the arrays; their digests by name."""
    arrays: dict[str, NDArray[np.generic]] = {
        ROWS: contents.rows,
        PATIENTS: contents.patients,
        HELD_OUT: contents.held_out,
        PLACES: contents.places,
    }
    digests = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        sealed = seal.seal(buffer.getvalue(), array_context(version, name))
        write_file(folder / name, sealed)
        digests[name] = hashlib.sha256(sealed).hexdigest()
    return digests


def _remove_leftovers(path: Path) -> None:
    """Delete drafts of killed runs and versions that are no longer current.

    A training that still has an old version open keeps reading it: the disk frees it afterwards.
    """
    pointer = path / CURRENT
    current = pointer.read_bytes().split(b" ")[0].strip() if pointer.exists() else b""
    for found in path.iterdir():
        is_old = found.name.startswith(VERSION_PREFIX) and os.fsencode(found.name) != current
        if is_old or found.name.startswith((DRAFT_PREFIX, f".{CURRENT}.")):
            shutil.rmtree(found) if found.is_dir() else found.unlink()

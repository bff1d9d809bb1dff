"""The hospital's cache of usable radiographs, opened for training without reading it into memory."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.cache.cipher import key_mark, load_key, seal_of
from client.cache.images import Images, open_images
from client.cache.layout import (
    HELD_OUT,
    PATIENTS,
    PLACES,
    ROWS,
    CacheDamaged,
    CacheLocked,
    CacheMissing,
    CacheUnusable,
    Manifest,
    Version,
    array_context,
    cache_path,
    current_version,
)
from client.cache.seal import Seal, SealBroken, unsealed
from client.config import SiteConfig
from client.tally import Tally
from model.conditioning import NULL, Schema

__all__ = [
    "CacheDamaged",
    "CacheLocked",
    "CacheMissing",
    "CacheUnusable",
    "Records",
    "join",
    "open_cache",
    "open_cache_of",
    "verify_cache",
]

Number = TypeVar("Number", bound=np.generic)

_ATTEMPTS = 3
"""To open a version before another takes its place; each time there has to be an ingest in between."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Records:
    """All usable radiographs of a hospital, n of them, in an order that says nothing."""

    images: Images
    """n pictures of (image_size, image_size), memory-mapped, verified when read; 0 black, 65535 white."""
    rows: NDArray[np.float32]
    """(n, attribute), in the order of Schema.names."""
    patients: NDArray[np.uint64] = field(repr=False)
    """(n,), the patient's opaque key."""
    held_out: NDArray[np.bool_]
    """(n,), True for the patients kept away from training."""
    findings: tuple[str, ...]
    tally: Tally

    def __len__(self) -> int:
        """Number of records."""
        return len(self.rows)

    @property
    def image_size(self) -> int:
        """Side of the square pictures, pixels."""
        return self.images.image_size

    @property
    def num_training(self) -> int:
        """Records that are not held out."""
        return len(self) - int(self.held_out.sum())

    def at_site(self, number: int | None) -> "Records":
        """The same records with the hospital's number in the study, which no cache holds, in their rows."""
        rows = self.rows.copy()
        rows[:, Schema(self.findings).names.index("site")] = number or NULL
        return replace(self, rows=rows)

    def batch(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Copy some records, ready for the network.

        Returns:
            Images (batch, 1, image_size, image_size) in [-1, 1], and conditions (batch, attribute), both
            float32 on the CPU.

        Raises:
            CacheDamaged: a picture is not what was written.
        """
        images = self.images[indices].astype(np.float32)[:, None]
        images *= np.float32(2.0 / 65535.0)
        images -= np.float32(1.0)
        return torch.from_numpy(images), torch.from_numpy(self.rows[indices])


def open_cache_of(site: SiteConfig) -> Records:
    """Open a hospital's cache with the key that its profile names.

    Raises:
        CacheMissing, CacheUnusable: as `open_cache`.
        CacheKeyUnusable: the key is none.
    """
    return open_cache(cache_path(site), load_key(site.cache_key_path))


def open_cache(path: Path, key: bytes | None = None) -> Records:
    """Open the current version.

    Everything but the pixels is verified now, by SHA-256 and, if encrypted, by its tag: a round opens the
    cache anew, and a flipped bit in a patient's key or in the held-out flags would do harm unseen. Each
    picture is verified when it is read. `verify_cache` reads them all.

    Raises:
        CacheMissing: nothing has been ingested.
        CacheUnusable: something is missing or not as it was written, or the key does not fit.
    """
    return _open_current(path, key)[0]


def verify_cache(path: Path, key: bytes | None = None) -> Manifest:
    """Read every byte of the current version and compare it with what was written.

    Raises:
        CacheMissing: nothing has been ingested.
        CacheUnusable: something differs.
    """
    records, version = _open_current(path, key)
    for index in range(len(records)):
        records.images[index]
    return version.manifest


def join(caches: Sequence[Records]) -> Records:
    """All records of several caches as one, cache after cache; findings and tally are the first's."""
    return replace(
        caches[0],
        images=Images.joined([records.images for records in caches]),
        rows=np.concatenate([records.rows for records in caches]),
        patients=np.concatenate([records.patients for records in caches]),
        held_out=np.concatenate([records.held_out for records in caches]),
    )


def _open_current(path: Path, key: bytes | None) -> tuple[Records, Version]:
    """Open the version in use; if an ingest replaces it meanwhile, the next one."""
    for attempt in range(1, _ATTEMPTS + 1):
        version = None
        try:
            version = current_version(path)
            return _open_version(version, key), version
        except (CacheDamaged, FileNotFoundError):
            if attempt == _ATTEMPTS or _is_current(version, path):
                raise
    raise AssertionError("unreachable")


def _is_current(version: Version | None, path: Path) -> bool:
    try:
        now = current_version(path)
    except (CacheDamaged, FileNotFoundError):
        return True  # as unreadable as before
    return version is not None and now.name == version.name


def _open_version(version: Version, key: bytes | None) -> Records:
    _check_key(version, key)
    seal, manifest, path = seal_of(key), version.manifest, version.cache_path
    version.check(seal)
    n, num_attributes = manifest.num_records, len(Schema(manifest.findings).names)
    places = _array(version, PLACES, np.uint32, (n, 2), seal)
    shards = [version.stock_folder / name for name in manifest.shards]
    try:
        images = open_images(path, shards, places, manifest.image_size, seal)
    except FileNotFoundError:
        raise CacheDamaged(path, "a shard is missing") from None
    return Records(
        images=images,
        rows=_array(version, ROWS, np.float32, (n, num_attributes), seal),
        patients=_array(version, PATIENTS, np.uint64, (n,), seal),
        held_out=_array(version, HELD_OUT, np.bool_, (n,), seal),
        findings=manifest.findings,
        tally=manifest.tally,
    )


def _check_key(version: Version, key: bytes | None) -> None:
    """Say which key is wrong instead of that everything is damaged."""
    written = version.manifest.key_mark
    if written == key_mark(key):
        return
    if not written:
        why = "a key is configured, and it is not encrypted"
    elif key is None:
        why = "it is encrypted, and no key is configured"
    else:
        why = "it is encrypted with another key than the configured one"
    raise CacheLocked(version.cache_path, why)


def _array(
    version: Version, name: str, dtype: type[Number], shape: tuple[int, ...], seal: Seal
) -> NDArray[Number]:
    try:
        sealed = (version.folder / name).read_bytes()
    except OSError:
        raise CacheDamaged(version.cache_path, f"{name} cannot be read") from None
    if hashlib.sha256(sealed).hexdigest() != version.manifest.files[name]:
        raise CacheDamaged(version.cache_path, f"{name} is not the file that was written")
    try:
        content = unsealed(seal, sealed, array_context(version.name, name))
    except SealBroken:
        raise CacheDamaged(version.cache_path, f"{name} is not as it was written") from None
    array: NDArray[Number] = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise CacheDamaged(version.cache_path, f"{name} has the wrong type or shape")
    return array

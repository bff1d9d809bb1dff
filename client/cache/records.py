"""The hospital's cache of usable radiographs, opened for training without reading it into memory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from client.cache.layout import (
    HELD_OUT,
    IMAGES,
    PATIENTS,
    ROWS,
    CacheDamaged,
    CacheMissing,
    Manifest,
    current_version,
    digest_of,
    read_manifest,
)
from client.tally import Tally
from model.conditioning import Schema

__all__ = ["CacheDamaged", "CacheMissing", "Records", "open_cache", "verify_cache"]

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Records:
    """All usable radiographs of a hospital, n of them, in an order that says nothing."""

    images: NDArray[np.uint16]
    """(n, image_size, image_size), memory-mapped; 0 black, 65535 white."""
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
        return int(self.images.shape[-1])

    @property
    def num_training(self) -> int:
        """Records that are not held out."""
        return len(self) - int(self.held_out.sum())

    def batch(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Fetch records as the network takes them.

        Returns:
            Images (batch, 1, image_size, image_size) in [-1, 1], and conditions (batch, attribute), both
            float32 on the CPU.
        """
        images = self.images[indices].astype(np.float32)[:, None]
        images *= np.float32(2.0 / 65535.0)
        images -= np.float32(1.0)
        return torch.from_numpy(images), torch.from_numpy(self.rows[indices])


def open_cache(path: Path) -> Records:
    """Open the current version.

    Everything is verified by SHA-256 except the pixels, of which only the size is: they may be tens of
    gigabytes, a round opens the cache anew, and a flipped bit in one picture harms nobody, whereas one
    in a patient key or in the held-out flags would. `verify_cache` reads the pixels as well.

    Raises:
        CacheMissing: nothing has been ingested.
        CacheDamaged: something is missing or not as it was written.
    """
    version = current_version(path)
    try:
        return _open_version(path, version)
    except (CacheDamaged, FileNotFoundError):
        replaced_meanwhile = current_version(path)
        if replaced_meanwhile == version:
            raise
        return _open_version(path, replaced_meanwhile)


def verify_cache(path: Path) -> Manifest:
    """Read every byte of the current version and compare it with what was written.

    Raises:
        CacheMissing: nothing has been ingested.
        CacheDamaged: a file differs.
    """
    version = current_version(path)
    manifest = read_manifest(path, version)
    _check_digests(path, version, manifest, tuple(manifest.files))
    _open_version(path, version)
    return manifest


def _open_version(path: Path, version: Path) -> Records:
    manifest = read_manifest(path, version)
    _check_digests(path, version, manifest, (ROWS, PATIENTS, HELD_OUT))
    num_records, side = manifest.num_records, manifest.image_size
    num_attributes = len(Schema(manifest.findings).names)
    return Records(
        images=_open_array(path, version / IMAGES, np.uint16, (num_records, side, side)),
        rows=_open_array(path, version / ROWS, np.float32, (num_records, num_attributes)),
        patients=_open_array(path, version / PATIENTS, np.uint64, (num_records,)),
        held_out=_open_array(path, version / HELD_OUT, np.bool_, (num_records,)),
        findings=manifest.findings,
        tally=manifest.tally,
    )


def _open_array(
    path: Path, file: Path, dtype: type[Number], shape: tuple[int, ...]
) -> NDArray[Number]:
    try:
        array = open_memmap(file, mode="r")
    except (OSError, ValueError, EOFError):
        raise CacheDamaged(path, f"{file.name} cannot be opened at its full size") from None
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise CacheDamaged(path, f"{file.name} has the wrong type or shape")
    return array


def _check_digests(path: Path, version: Path, manifest: Manifest, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            digest = digest_of(version / name)
        except OSError:
            raise CacheDamaged(path, f"{name} cannot be read") from None
        if digest != manifest.files[name]:
            raise CacheDamaged(path, f"{name} is not the file that was written")

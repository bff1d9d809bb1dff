"""How a cache lies on disk, for its writer and its reader alike; needs no torch.

A cache is a folder with one folder per version and a file `current` that names the version in use, so that
a new version can take the old one's place in a single rename.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.tally import Tally

CACHE_FORMAT = 1
CURRENT = "current"
VERSION_PREFIX = "version-"
MANIFEST = "manifest.json"
IMAGES, ROWS, PATIENTS, HELD_OUT = "images.npy", "rows.npy", "patients.npy", "held_out.npy"
_CHUNK_BYTES = 2**22


class CacheMissing(FileNotFoundError):
    """Nothing has been ingested yet."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no cache of radiographs in {path}. The hospital's data manager types: "
            "fedcxr hospital ingest"
        )


class CacheDamaged(RuntimeError):
    """The cache on disk is not the one that was written."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"The cache of radiographs in {path} is damaged: {what}. The hospital's data manager makes it "
            "anew by typing: fedcxr hospital ingest"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a version of the cache holds."""

    format: int
    image_size: int
    """Pixels."""
    findings: tuple[str, ...]
    num_records: int
    tally: Tally
    settings: str
    """SHA-256 of everything that decides how a file becomes a record."""
    files: Mapping[str, str]
    """File name -> SHA-256 of its content."""


def current_version(path: Path) -> Path:
    """Folder of the version in use.

    Raises:
        CacheMissing: nothing has been ingested.
        CacheDamaged: `current` names no version.
    """
    try:
        name = (path / CURRENT).read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        raise CacheMissing(path) from None
    except UnicodeDecodeError:
        raise CacheDamaged(path, f"{CURRENT} is not text") from None
    is_name = Path(name).name == name and name.startswith(VERSION_PREFIX)
    if not is_name or not (path / name).is_dir():
        raise CacheDamaged(path, f"{CURRENT} names a version that is not there")
    return path / name


def read_manifest(path: Path, version: Path) -> Manifest:
    """Read and check one version's manifest.

    Raises:
        CacheDamaged: it is missing, not ours, or from another format.
    """
    try:
        content = json.loads((version / MANIFEST).read_text(encoding="utf-8"))
        content["findings"] = tuple(content["findings"])
        content["tally"] = Tally.from_json(content["tally"])
        manifest = Manifest(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise CacheDamaged(path, f"{MANIFEST} cannot be read") from None
    if manifest.format != CACHE_FORMAT:
        raise CacheDamaged(
            path, f"its format is {manifest.format}, this program's is {CACHE_FORMAT}"
        )
    if set(manifest.files) != {IMAGES, ROWS, PATIENTS, HELD_OUT}:
        raise CacheDamaged(path, f"{MANIFEST} lists other files")
    return manifest


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

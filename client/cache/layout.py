"""How a cache lies on disk, for its writers and its reader alike; needs no torch.

A cache is a folder. In it, a stock holds what was read with the same settings: shards with pictures, and the
journal of every item. A version holds what was made of a stock for training: which pictures, in which order,
and what is known of each. The file `current` names the version in use, so that a new one takes its place in
a single rename.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from client.cache.seal import Seal, SealBroken, unsealed
from client.config import SiteConfig
from client.tally import Tally

CACHE_FORMAT = 2
CURRENT = "current"
VERSION_PREFIX = "version-"
STOCK_PREFIX = "stock-"
DRAFT_PREFIX = ".draft-"
SHARD_SUFFIX = ".shard"
MANIFEST = "manifest.json"
ROWS, PATIENTS, HELD_OUT, PLACES = "rows", "patients", "held_out", "places"
ARRAYS = (ROWS, PATIENTS, HELD_OUT, PLACES)


class CacheMissing(FileNotFoundError):
    """Nothing has been ingested yet."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no cache of radiographs in {path}. The hospital's data manager types: "
            "fedcxr hospital ingest"
        )


class CacheUnusable(RuntimeError):
    """There is a cache, and it cannot be used as it is."""


class CacheDamaged(CacheUnusable):
    """The cache on disk is not the one that was written."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"The cache of radiographs in {path} is damaged: {what}. The hospital's data manager makes it "
            "anew by typing: fedcxr hospital ingest --rebuild"
        )


class CacheOutdated(CacheUnusable):
    """The cache was written by another version of this program."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The cache of radiographs in {path} has a format that this version of the program does not "
            "use. The hospital's data manager makes it anew by typing: fedcxr hospital ingest"
        )


class CacheLocked(CacheUnusable):
    """The cache cannot be read with the key that is configured, or without one."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"The cache of radiographs in {path} cannot be read: {why}. The hospital's data manager corrects "
            "cache_key_path or FEDCXR_CACHE_KEY, or makes the cache anew by typing: fedcxr hospital ingest "
            "--rebuild"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a version of the cache holds. It is never encrypted: it only counts."""

    format: int
    key_mark: str
    """Tells which key the cache is encrypted with; empty for none."""
    stock: str
    """Folder of the shards."""
    shards: tuple[str, ...]
    """Their names; `places` counts them from 0."""
    image_size: int
    """Pixels."""
    findings: tuple[str, ...]
    num_records: int
    tally: Tally
    settings: str
    """SHA-256 of everything that decides how a file becomes a record."""
    files: Mapping[str, str]
    """File name -> SHA-256 of its content."""

    def to_text(self) -> str:
        """As it is kept."""
        content = asdict(self) | {"tally": self.tally.to_json()}
        return json.dumps(content, indent=2, sort_keys=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A version in use, before anything in it but the manifest has been looked at."""

    cache_path: Path
    name: str
    manifest: Manifest
    mark: bytes
    """From `current`: seals the manifest."""
    manifest_text: str

    @property
    def folder(self) -> Path:
        """Where its arrays lie."""
        return self.cache_path / self.name

    @property
    def stock_folder(self) -> Path:
        """Where its shards lie."""
        return self.cache_path / self.manifest.stock

    def check(self, seal: Seal) -> None:
        """Make sure that the manifest is the one that was written.

        Raises:
            CacheDamaged: it is not.
        """
        try:
            digest = unsealed(seal, self.mark, self.name)
        except SealBroken:
            raise CacheDamaged(self.cache_path, f"{CURRENT} is not as it was written") from None
        if digest != hashlib.sha256(self.manifest_text.encode()).digest():
            raise CacheDamaged(self.cache_path, f"{MANIFEST} is not the file that was written")


def cache_path(site: SiteConfig) -> Path:
    """Where a hospital's cache lies."""
    return site.state_path / "cache"


def current_version(path: Path) -> Version:
    """The version in use.

    Raises:
        CacheMissing: nothing has been ingested.
        CacheOutdated: by an earlier version of the program.
        CacheDamaged: `current` names no version, or its manifest cannot be read.
    """
    try:
        line = (path / CURRENT).read_text(encoding="ascii")
    except (FileNotFoundError, NotADirectoryError):
        raise CacheMissing(path) from None
    except UnicodeDecodeError:
        raise CacheDamaged(path, f"{CURRENT} is not text") from None
    name, _, mark = line.strip().partition(" ")
    is_name = Path(name).name == name and name.startswith(VERSION_PREFIX)
    if not is_name or not (path / name).is_dir():
        raise CacheDamaged(path, f"{CURRENT} names a version that is not there")
    text = _manifest_text(path, name)
    return Version(
        cache_path=path,
        name=name,
        manifest=_parse_manifest(path, text),
        mark=_bytes_of(mark),
        manifest_text=text,
    )


def array_context(version_name: str, array_name: str) -> str:
    """What a version's arrays are sealed with."""
    return f"array|{version_name}|{array_name}"


def _manifest_text(path: Path, name: str) -> str:
    try:
        return (path / name / MANIFEST).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise CacheDamaged(path, f"{MANIFEST} cannot be read") from None


def _parse_manifest(path: Path, text: str) -> Manifest:
    try:
        content = json.loads(text)
        if content["format"] != CACHE_FORMAT:
            raise CacheOutdated(path)
        for name in ("findings", "shards"):
            content[name] = tuple(content[name])
        content["tally"] = Tally.from_json(content["tally"])
        manifest = Manifest(**content)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CacheDamaged(path, f"{MANIFEST} cannot be read") from None
    if set(manifest.files) != set(ARRAYS):
        raise CacheDamaged(path, f"{MANIFEST} lists other files")
    return manifest


def _bytes_of(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""

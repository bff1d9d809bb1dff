"""Everything that was read with the same settings: a journal, and shards with the pixels of its records.

Other settings, another key, or the wish to read everything anew begin another stock beside the one in use,
which stays until a version of the new one has taken its place.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache.cipher import key_mark, seal_of
from client.cache.images import Images, open_images
from client.cache.journal import Journal, JournalDamaged
from client.cache.layout import (
    DRAFT_PREFIX,
    SHARD_SUFFIX,
    STOCK_PREFIX,
    CacheDamaged,
    CacheLocked,
    CacheMissing,
    CacheUnusable,
    Version,
    current_version,
)
from client.cache.seal import Seal
from client.cache.shards import Shard
from federation.files import sync_folder

_SETTINGS, _KEY = "settings", "key"


class NotThereTwice(RuntimeError):
    """Reading anew would lose what no source offers a second time."""

    def __init__(self, num_items: int) -> None:
        super().__init__(
            f"The settings for reading have changed, and {num_items} files that a PACS had sent are not there "
            "to be read again. The data manager takes the change back; or types fedcxr hospital ingest "
            "--rebuild, and has the PACS send them once more."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """One stock, open for the process that holds the cache's lock."""

    folder: Path
    journal: Journal
    seal: Seal
    key_mark: str
    settings: str
    """SHA-256 of everything that decides how a file is read."""
    image_size: int
    """Pixels."""
    num_left_behind: int
    """Items of the stock in use, which this one is to replace, that no source offers again."""

    @property
    def cache_path(self) -> Path:
        """The cache that it belongs to."""
        return self.folder.parent

    def shard(self, name: str) -> Shard:
        """One of its shards.

        Raises:
            CacheDamaged: it is missing or cut.
        """
        try:
            return Shard(self.cache_path, self.folder / name, self.image_size, self.seal)
        except FileNotFoundError:
            raise CacheDamaged(self.cache_path, f"{name} is missing") from None

    def images(self, shards: tuple[str, ...], places: NDArray[np.uint32]) -> Images:
        """Pictures by places (n, 2), which count the shards from 0.

        Raises:
            CacheDamaged: a shard is missing or cut.
        """
        paths = [self.folder / name for name in shards]
        try:
            return open_images(self.cache_path, paths, places, self.image_size, self.seal)
        except FileNotFoundError:
            raise CacheDamaged(self.cache_path, "a shard is missing") from None

    def remove_unused(self, used: frozenset[str]) -> None:
        """Delete drafts, and shards that neither the journal nor the version in use knows."""
        known = used | self.journal.num_by_shard().keys()
        for found in self.folder.iterdir():
            is_unused = found.name.endswith(SHARD_SUFFIX) and found.name not in known
            if is_unused or found.name.startswith(DRAFT_PREFIX):
                found.unlink()


@contextmanager
def open_stock(
    cache_path: Path, *, settings: str, key: bytes | None, image_size: int, rebuild: bool
) -> Iterator[Stock]:
    """Give the stock of these settings, begun if there is none or everything is to be read anew.

    Raises:
        CacheLocked: what is there is encrypted with another key.
        NotThereTwice: what is there could not be read again.
        JournalDamaged: what is there cannot be read.
    """
    facts = {_SETTINGS: settings, _KEY: key_mark(key)}
    in_use = version_in_use(cache_path)
    folder = None if rebuild else _find(cache_path, facts, in_use)
    if folder is None:
        folder = cache_path / f"{STOCK_PREFIX}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        sync_folder(cache_path)
    seal = seal_of(key)
    with closing(Journal(folder, seal)) as journal:
        journal.set_facts(facts)
        stock = Stock(
            folder=folder,
            journal=journal,
            seal=seal,
            key_mark=facts[_KEY],
            settings=settings,
            image_size=image_size,
            num_left_behind=_num_left_behind(folder, in_use),
        )
        kept = {folder.name, *([in_use.manifest.stock] if in_use else [])}
        remove_stocks_but(cache_path, frozenset(kept))
        stock.remove_unused(shards_in_use(stock, in_use))
        yield stock


def _num_left_behind(folder: Path, in_use: Version | None) -> int:
    if in_use is None or folder == in_use.stock_folder or not in_use.stock_folder.exists():
        return 0
    try:
        return _num_not_mirrored(in_use.stock_folder)
    except JournalDamaged:
        return 0  # nobody can tell any more


def version_in_use(cache_path: Path) -> Version | None:
    """The version that a training may open now; None if there is none that it could."""
    with suppress(CacheMissing, CacheUnusable):
        return current_version(cache_path)
    return None


def shards_in_use(stock: Stock, version: Version | None) -> frozenset[str]:
    """Shards of a stock that a version reads."""
    if version is None or version.manifest.stock != stock.folder.name:
        return frozenset()
    return frozenset(version.manifest.shards)


def remove_stocks_but(cache_path: Path, kept: frozenset[str]) -> None:
    """Delete all stocks except some."""
    for folder in _stocks(cache_path):
        if folder.name not in kept:
            shutil.rmtree(folder)


def _find(cache_path: Path, facts: dict[str, str], in_use: Version | None) -> Path | None:
    """The stock with these facts; of two the one that is not in use yet, which a killed ingest began."""
    found = {folder: _facts(folder) for folder in _stocks(cache_path)}
    matching = [folder for folder, stated in found.items() if stated == facts]
    if matching:
        name = in_use.manifest.stock if in_use else ""
        return min(matching, key=lambda folder: (folder.name == name, folder.name))
    for folder, stated in found.items():
        _check_replaceable(folder, stated, facts)
    return None


def _stocks(cache_path: Path) -> list[Path]:
    return sorted(cache_path.glob(f"{STOCK_PREFIX}*"))


def _facts(folder: Path) -> dict[str, str]:
    with closing(Journal(folder, seal_of(None))) as journal:
        return {name: journal.fact(name) for name in (_SETTINGS, _KEY)}


def _check_replaceable(folder: Path, stated: dict[str, str], wanted: dict[str, str]) -> None:
    """Make sure that nothing is lost by reading everything anew into another stock."""
    if stated[_KEY] not in {"", wanted[_KEY]}:
        why = "another one" if wanted[_KEY] else "none"
        raise CacheLocked(folder.parent, f"it is encrypted with a key, and {why} is configured")
    num_lost = _num_not_mirrored(folder)
    if num_lost:
        raise NotThereTwice(num_lost)


def _num_not_mirrored(folder: Path) -> int:
    with closing(Journal(folder, seal_of(None))) as journal:
        return journal.num_not_mirrored()

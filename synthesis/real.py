"""A hospital's own radiographs beside a model: opened only if the two fit, and only those kept from training."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache.cipher import load_key
from client.cache.layout import cache_path
from client.cache.records import Records, open_cache
from client.config import load_site
from model.generate import Generator

PROFILE_SUFFIXES = frozenset({".yaml", ".yml"})


class CacheDoesNotFit(ValueError):
    """The radiographs and the model have different sizes or findings."""

    def __init__(self, path: Path, held: str, wanted: str) -> None:
        super().__init__(
            f"the cache in {path} holds {held}, the model draws {wanted}: the data manager sets image_size and "
            "findings in the hospital's profile to the model's and types: fedcxr hospital ingest"
        )


def open_real(path: Path, generator: Generator, *, key_path: Path | None = None) -> Records:
    """A cache whose pictures and conditions mean the same as the model's.

    Args:
        path: folder of the cache.
        generator: the model.
        key_path: file with the cache's key, if it is encrypted and the key is not in the environment.

    Raises:
        CacheDoesNotFit: another picture size or other findings.
        CacheMissing, CacheUnusable, CacheKeyUnusable: as ``open_cache`` and ``load_key``.
    """
    records = open_cache(path, load_key(key_path))
    held, wanted = records.image_size, generator.image_size
    if held != wanted:
        raise CacheDoesNotFit(path, f"{held}-pixel radiographs", f"{wanted}-pixel ones")
    if records.findings != generator.schema.findings:
        raise CacheDoesNotFit(
            path, f"{len(records.findings)} findings", f"{len(generator.schema.findings)} others"
        )
    return records


def open_hospital(path: Path, generator: Generator) -> Records:
    """What a person names as a hospital's radiographs: its profile, or the folder of its cache.

    A profile says more than a folder: where the key is, and which hospital it is, so that the records carry
    its number if the model has one for it.

    Raises:
        CacheDoesNotFit: another picture size or other findings than the model's.
        CacheMissing, CacheUnusable, CacheKeyUnusable, ConfigError: the cache or the profile cannot be read.
    """
    if path.suffix not in PROFILE_SUFFIXES:
        return open_real(path, generator)
    site = load_site(path)
    records = open_real(cache_path(site), generator, key_path=site.cache_key_path)
    return records.at_site(generator.manifest.site_numbers.get(site.site_name))


def one_of_each_patient(
    records: Records, eligible: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Numbers of one eligible radiograph of every patient who has one, in random order.

    Args:
        records: n radiographs.
        eligible: (n,), such as those held out.
        rng: decides which, and the order.
    """
    order = rng.permutation(np.flatnonzero(eligible))
    _, first = np.unique(records.patients[order], return_index=True)
    chosen: NDArray[np.intp] = order[np.sort(first)]
    return chosen

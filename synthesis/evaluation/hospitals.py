"""The hospitals whose radiographs judge a model: each a cache, or a profile that says where one is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache.layout import cache_path
from client.cache.records import Records, join
from client.config import load_site
from model.generate import Generator
from synthesis.evaluation.plan import MIN_RECORDS
from synthesis.evaluation.radiographs import Radiographs
from synthesis.real import open_real


class TooFewHeldOut(ValueError):
    """So few radiographs were kept from training that no number would mean anything."""

    def __init__(self, num_held_out: int) -> None:
        super().__init__(
            f"{num_held_out} held-out radiographs are too few, an evaluation needs at least {MIN_RECORDS}: "
            "ingest more radiographs, or give more hospitals' caches with --real"
        )


class TooFewTraining(ValueError):
    """Nothing to train the probe on."""

    def __init__(self, num_training: int) -> None:
        super().__init__(
            f"{num_training} training radiographs are too few, an evaluation needs at least {MIN_RECORDS} "
            "besides the held-out ones: ingest more radiographs, or give more hospitals' caches with --real"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Hospital:
    """One hospital's radiographs."""

    name: str
    records: Records
    held_out: NDArray[np.bool_]
    """(n,), True for the patients whom the model has not seen."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Hospitals:
    """All radiographs, in the two parts that matter."""

    names: tuple[str, ...]
    training: Radiographs
    held_out: Radiographs
    """Of patients none of whom is in ``training``."""


def open_hospitals(
    paths: Sequence[Path], generator: Generator, unseen: Sequence[Path] = ()
) -> Hospitals:
    """Open the caches, and take their records together.

    Args:
        paths: folders of caches, or profiles (YAML) of hospitals, which also name the cache's key.
        generator: the model; a hospital that it has a number for gets that number in its conditions.
        unseen: more of them, of hospitals that took no part: all their radiographs count as held out.

    Raises:
        CacheDoesNotFit: a cache has another picture size or other findings than the model.
        TooFewHeldOut, TooFewTraining: together they have too few records.
        CacheMissing, CacheUnusable, CacheKeyUnusable, ConfigError: a cache or profile cannot be read.
    """
    hospitals = [
        _open(path, number, generator, is_unseen=number > len(paths))
        for number, path in enumerate((*paths, *unseen), start=1)
    ]
    everything = _together([hospital.records for hospital in hospitals])
    held_out = np.concatenate([hospital.held_out for hospital in hospitals])
    num_held_out = int(held_out.sum())
    if num_held_out < MIN_RECORDS:
        raise TooFewHeldOut(num_held_out)
    if len(everything) - num_held_out < MIN_RECORDS:
        raise TooFewTraining(len(everything) - num_held_out)
    return Hospitals(
        names=tuple(hospital.name for hospital in hospitals),
        training=everything.take(~held_out),
        held_out=everything.take(held_out),
    )


def _open(path: Path, number: int, generator: Generator, *, is_unseen: bool) -> Hospital:
    """One hospital; a cache without a profile has no name."""
    if path.suffix in {".yaml", ".yml"}:
        site = load_site(path)
        name = site.site_name
        records = open_real(cache_path(site), generator, key_path=site.cache_key_path)
        records = records.at_site(generator.manifest.site_numbers.get(name))
    else:
        name, records = f"cache {number}", open_real(path, generator)
    held_out = np.ones(len(records), dtype=bool) if is_unseen else records.held_out
    return Hospital(name=name, records=records, held_out=held_out)


def _together(caches: list[Records]) -> Radiographs:
    """All records; one key in two hospitals is two patients."""
    records = join(caches)
    hospitals = np.repeat(np.arange(len(caches)), [len(cache) for cache in caches])
    keys = np.stack([hospitals.astype(np.uint64), records.patients], axis=1)
    _, patients = np.unique(keys, axis=0, return_inverse=True)
    return Radiographs(
        source=records,
        places=np.arange(len(records)),
        rows=records.rows,
        patients=patients.reshape(-1),
        hospitals=hospitals,
    )

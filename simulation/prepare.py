"""Making the simulated hospitals: radiographs as DICOM files, then each hospital's own ingest."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from client.cache.records import CacheMissing, open_cache
from client.ingest import ingest
from federation.files import write_file
from simulation.config import SimulationConfig
from simulation.layout import Layout
from simulation.phantom_sites import PhantomSite, write_balanced_set, write_phantom_site

Say = Callable[[str], None]


def prepare(layout: Layout, plan: SimulationConfig, say: Say) -> list[str]:
    """Every hospital's archive and cache, and the held-out set's, made if not there; the hospitals' names."""
    for site in plan.sites:
        _prepare(
            layout.hospital(site.name), plan, partial(_write_hospital, plan, site), site.name, say
        )
    _prepare(layout.held_out, plan, partial(_write_held_out, plan), "held-out set", say)
    return sorted(site.name for site in plan.sites)


def _write_hospital(plan: SimulationConfig, site: PhantomSite, data: Path) -> None:
    write_phantom_site(data, site, plan.study.findings, plan.phantom_size)


def _write_held_out(plan: SimulationConfig, data: Path) -> None:
    write_balanced_set(
        data,
        plan.sites,
        plan.study.findings,
        num_records=plan.held_out.num_records,
        seed=plan.held_out.seed,
        image_size=plan.phantom_size,
    )


def _prepare(
    folder: Path, plan: SimulationConfig, write: Callable[[Path], None], name: str, say: Say
) -> None:
    cache = folder / "state" / "cache"
    with suppress(CacheMissing):
        open_cache(cache)
        return
    _write_once(folder / "data", write)
    secret = hashlib.sha256(f"{plan.study.seed}|{name}".encode()).digest()
    write_file(folder / "state" / "patient.secret", secret)  # phantoms: known, so that runs repeat
    tally = ingest(
        folder / "data" / "dicom",
        labels_path=folder / "data" / "labels.csv",
        cache_path=cache,
        secret_path=folder / "state" / "patient.secret",
        image_size=plan.study.model.image_size,
        findings=plan.study.findings,
    )
    say(f"{name}: {tally}")


def _write_once(data: Path, write: Callable[[Path], None]) -> None:
    """Write a data folder completely or not at all."""
    if data.exists():
        return
    partial = data.with_name(f"{data.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    write(partial)
    partial.rename(data)

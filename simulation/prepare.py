"""Making the simulated hospitals: radiographs as DICOM files, made or found, then each hospital's own ingest."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from client.cache.records import CacheMissing, open_cache_of
from client.config import SiteConfig
from client.dicom.policy import ReadPolicy
from client.intake.ingest import ingest
from federation.config import StudyConfig
from federation.files import write_file
from federation.planning.spending import charged_phase
from federation.strict_yaml import dump_yaml
from model.conditioning import RACES
from simulation.config import Budget, FolderSet, FolderSite, HeldOutSet, SimulationConfig
from simulation.layout import Layout
from simulation.phantom_sites import PhantomSite, write_balanced_set, write_phantom_site

Say = Callable[[str], None]

READING = ReadPolicy(ethnic_groups={race.upper(): race for race in RACES})
"""Everything is used, and race is read where an import has written it."""


class FolderMissing(ValueError):
    """A simulation names a folder that is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"the simulation names {path}, which is not there: correct its path")


def prepare(layout: Layout, plan: SimulationConfig, say: Say) -> list[str]:
    """Every hospital's archive and cache, and the held-out set's, made if not there; the hospitals' names."""
    _link_codec(layout, plan.codec_path)
    for site in plan.sites:
        _prepare(
            layout.hospital(site.name), plan, partial(_write_hospital, plan, site), site.name, say
        )
        if plan.budget is not None:
            write_file(
                layout.policy(site.name),
                dump_yaml(_policy(plan.study, plan.budget, site.name)).encode(),
            )
    _prepare(layout.held_out, plan, partial(_write_held_out, plan), "held-out set", say)
    return sorted(site.name for site in plan.sites)


def _link_codec(layout: Layout, path: Path | None) -> None:
    """Point to the study's autoencoder, which is the same for all."""
    if path is None or layout.codec_path is not None:
        return
    if not path.is_dir():
        raise FolderMissing(path)
    (layout.out / "autoencoder").symlink_to(path.resolve())


def _policy(study: StudyConfig, budget: Budget, name: str) -> dict[str, object]:
    """A policy that allows what the study asks for, up to the budget."""
    stages = study.stages
    terms = [stage.local.privacy for stage in stages if stage.local.privacy]
    noise = min((charged_phase(each, 1).noise_multiplier for each in terms), default=1.0)
    return {
        "data_set": name,
        **asdict(budget),
        "min_noise_multiplier": noise,
        "max_sample_rate": max((each.sample_rate for each in terms), default=1.0),
        "max_local_steps": max(stage.local.local_steps for stage in stages),
        "max_images": max((each.max_images for each in terms), default=1),
        "only_private": len(terms) == len(stages),
        "noised_loss": True,
        "kinds": sorted({stage.kind for stage in stages}),
    }


def _write_hospital(plan: SimulationConfig, site: PhantomSite | FolderSite, data: Path) -> None:
    if isinstance(site, FolderSite):
        _link(data, site)
    else:
        write_phantom_site(data, site, plan.study.findings, plan.phantom_size)


def _write_held_out(plan: SimulationConfig, data: Path) -> None:
    if not isinstance(plan.held_out, HeldOutSet):
        _link(data, plan.held_out)
        return
    write_balanced_set(
        data,
        plan.phantoms,
        plan.study.findings,
        num_records=plan.held_out.num_records,
        seed=plan.held_out.seed,
        image_size=plan.phantom_size,
    )


def _link(data: Path, place: FolderSite | FolderSet) -> None:
    """Point to radiographs that exist; nothing of them is copied or changed."""
    data.mkdir(parents=True)
    for name, path in (("dicom", place.data_path), ("labels.csv", place.labels_path)):
        if not path.exists():
            raise FolderMissing(path)
        (data / name).symlink_to(path.resolve())


def _prepare(
    folder: Path, plan: SimulationConfig, write: Callable[[Path], None], name: str, say: Say
) -> None:
    site = SiteConfig(
        site_name=name,
        coordinator="localhost:1",  # nobody: an ingest calls no one
        ca_path=folder / "ca.crt",
        data_path=folder / "data" / "dicom",
        labels_path=folder / "data" / "labels.csv",
        state_path=folder / "state",
        image_size=plan.study.model.image_size,
        findings=plan.study.findings,
        reading=READING,
    )
    with suppress(CacheMissing):
        open_cache_of(site)
        return
    _write_once(folder / "data", write)
    secret = hashlib.sha256(f"{plan.study.seed}|{name}".encode()).digest()
    write_file(site.state_path / "patient.secret", secret)  # phantoms: known, so that runs repeat
    say(f"{name}: {ingest(site).tally}")


def _write_once(data: Path, write: Callable[[Path], None]) -> None:
    """Write a data folder completely or not at all."""
    if data.exists():
        return
    partial = data.with_name(f"{data.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    write(partial)
    partial.rename(data)

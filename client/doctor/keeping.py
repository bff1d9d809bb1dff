"""What the hospital keeps: its state folder and its cache of radiographs."""

import os
import pwd
import stat
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from client.cache.layout import CURRENT, CacheMissing, CacheUnusable, cache_path, current_version
from client.config import SiteConfig
from client.doctor.hospital import Hospital
from client.intake.ingest import settings_digest
from client.labels.presets import load_mapping, load_report_terms
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn
from privacy.patient import SecretUnusable, load_or_create_secret

OLD = timedelta(days=30)
SECRETS = ("patient.secret", "superexec.secret", "tls/ca.key", "tls/server.key")
NODE_KEYS = "*.key"


def state_folder(hospital: Hospital) -> Finding:
    """Does the state folder belong to this user alone, and take what is written?"""
    folder = hospital.site.state_path
    if not folder.exists():
        return ok("the state folder is made when it is needed")
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        return fail(
            f"{folder} belongs to {_name(owner)}, and this is {_name(os.geteuid())}",
            Job.MACHINE,
            f"start the hospital as {_name(owner)}, or type: chown -R {_name(os.geteuid())} {folder}",
        )
    opened = [path for path in (folder, *_secrets(folder)) if _is_open(path)]
    if opened:
        return fail(
            f"{opened[0]} is open to other users of this machine",
            Job.MACHINE,
            f"type: chmod -R go= {folder}",
        )
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(2**16))
    except OSError as err:
        return fail(
            f"{folder} does not take what is written ({err.strerror})",
            Job.MACHINE,
            f"see: df -h {folder}",
        )
    return ok("the state folder belongs to this user alone and can be written to")


def cache(hospital: Hospital) -> Finding:
    """Is there a cache, and does it fit the profile and the study?"""
    site = hospital.site
    do = f"type: fedcxr hospital ingest {hospital.site_path}"
    try:
        version = current_version(cache_path(site))
    except CacheMissing:
        return fail("nothing has been ingested yet", Job.DATA_MANAGER, do)
    except CacheUnusable as err:
        return fail(str(err), Job.DATA_MANAGER, f"{do} --rebuild")
    manifest = version.manifest
    if (manifest.image_size, manifest.findings) != (site.image_size, site.findings):
        return fail("the cache was made for another image_size or findings", Job.DATA_MANAGER, do)
    study = hospital.study
    if study and (manifest.image_size, manifest.findings) != (
        study.model.image_size,
        study.findings,
    ):
        return fail(
            f"the study needs {study.model.image_size} pixels and {len(study.findings)} findings, the cache has "
            f"{manifest.image_size} and {len(manifest.findings)}",
            Job.DATA_MANAGER,
            f"set image_size and findings in the profile as the study has them, then {do}",
        )
    return ok(f"the cache holds {manifest.num_records} usable radiographs")


def freshness(hospital: Hospital) -> Finding:
    """Was the cache made with the settings of today, and after the last change of the data folder?"""
    site = hospital.site
    do = f"type: fedcxr hospital ingest {hospital.site_path}"
    try:
        manifest = current_version(cache_path(site)).manifest
        made = (cache_path(site) / CURRENT).stat().st_mtime
    except (CacheMissing, CacheUnusable, OSError):
        return skipped("there is no cache that can be used")
    if manifest.settings and manifest.settings != _settings_now(site):
        return warn("settings for reading have changed since the ingest", Job.DATA_MANAGER, do)
    folder = site.data_path
    if folder is not None and folder.is_dir() and folder.stat().st_mtime > made:
        return warn("the data folder has changed since the ingest", Job.DATA_MANAGER, do)
    days = (time.time() - made) / 86400
    if days > OLD.days:
        return warn(f"the last ingest was {days:.0f} days ago", Job.DATA_MANAGER, do)
    return ok(
        f"ingested {'today' if days < 1 else f'{days:.0f} day(s) ago'}, with today's settings"
    )


def _settings_now(site: SiteConfig) -> str:
    """Empty where nobody can tell."""
    secret_path = site.state_path / "patient.secret"
    if not secret_path.exists():
        return ""
    try:
        secret = load_or_create_secret(secret_path)
    except SecretUnusable:
        return ""
    terms = load_report_terms(load_mapping(site.label_mapping, Path()).report_terms)
    return settings_digest(site, secret, terms)


def _secrets(folder: Path) -> list[Path]:
    found = [folder / name for name in SECRETS] + sorted(folder.glob(NODE_KEYS))
    return [path for path in found if path.exists()]


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"

"""Where the radiographs come from: readable, not writable, decodable; of what is read, nothing is told but how many."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import imagecodecs
import numpy as np

from client.cache.cipher import CacheKeyUnusable, load_key
from client.config import SiteConfig
from client.dicom.codecs import CODECS
from client.dicom.outcome import Radiograph
from client.dicom.rejection import Reason, Rejection, describe_count
from client.doctor.hospital import Hospital
from client.guard.pool import read_all
from client.labels.presets import load_mapping
from client.sources.folder import FolderSource
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn

NUM_LOOKED_AT = 16
"""Files of which one has to be usable: a folder often begins with something else."""
TEST_PICTURE = np.arange(64, dtype=np.uint8).reshape(8, 8)


def data_mount(hospital: Hospital) -> Finding:
    """Can the data folder be read, and not be written to?"""
    folder = hospital.site.data_path
    if folder is None:
        return skipped("radiographs come from a PACS, not from a folder")
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        return fail(
            f"the data folder {folder} cannot be opened by this user",
            Job.MACHINE,
            f"mount it, and let this user read it; see: ls -ld {folder}",
        )
    is_read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    if not is_read_only and os.access(folder, os.W_OK):
        return warn(
            "the data folder could be written to (this program never does)",
            Job.MACHINE,
            f"mount it read-only: mount -o remount,ro {folder}; in a container: {folder}:{folder}:ro",
        )
    return ok("the data folder can be read and not be written to")


def decoders(hospital: Hospital) -> Finding:
    """Does every decoder give back a picture that was coded?"""
    del hospital
    names = sorted({codec.name.lower() for codec in CODECS.values()})
    broken = [name for name in names if not _decodes(name)]
    if broken:
        return fail(
            f"radiographs coded as {', '.join(broken)} cannot be read",
            Job.MACHINE,
            "install the release anew: its package imagecodecs is not whole",
        )
    return ok(f"all {len(names)} decoders give back a test picture ({', '.join(names)})")


def sample_read(hospital: Hospital) -> Finding:
    """Does a radiograph of the data folder become a picture?"""
    site = hospital.site
    if site.data_path is None:
        return skipped("radiographs come from a PACS; `fedcxr hospital ingest` asks it")
    usable, refused = _look_at_some(site)
    if usable:
        return ok(f"a radiograph of the data folder was read, at {site.image_size} pixels")
    if not refused:
        return fail(
            "the data folder is empty",
            Job.DATA_MANAGER,
            "put radiographs there, or correct data_path",
        )
    told = ", ".join(describe_count(reason, count) for reason, count in refused.most_common())
    return fail(
        f"of the first {refused.total()} files none can be used: {told}",
        Job.DATA_MANAGER,
        f"type: fedcxr hospital ingest {hospital.site_path}; it looks at all of them",
    )


def named_files(hospital: Hospital) -> Finding:
    """Are all files there that the profile names, and secrets for their owner alone?"""
    site = hospital.site
    for key, path in _named(site):
        if not os.access(path, os.R_OK):
            return fail(
                f"{path} ({key}) cannot be read", Job.DATA_MANAGER, f"correct {key} in the profile"
            )
    for key, path in _secret(site):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            return fail(
                f"{path} ({key}) can be read by others", Job.DATA_MANAGER, f"type: chmod 600 {path}"
            )
    try:
        load_key(site.cache_key_path)
    except CacheKeyUnusable as err:
        return fail(str(err), Job.DATA_MANAGER, "put the key of the cache back")
    load_mapping(site.label_mapping, Path())
    return ok("every file that the profile names can be read, and no secret by others")


def _decodes(name: str) -> bool:
    encode: Callable[[object], bytes] = getattr(imagecodecs, f"{name}_encode")
    decode = getattr(imagecodecs, f"{name}_decode")
    try:
        coded = encode(TEST_PICTURE)
        back = np.frombuffer(decode(coded), np.uint8) if name == "packbits" else decode(coded)
    except (RuntimeError, ValueError, ImportError):
        return False
    difference = np.abs(back.reshape(8, 8).astype(int) - TEST_PICTURE)
    return bool(difference.max() <= 8)  # JPEG may lose a little


def _look_at_some(site: SiteConfig) -> tuple[int, Counter[Reason]]:
    """How many of the first files are usable (it ends at the first one), and why the others are not."""
    refused: Counter[Reason] = Counter()
    jobs = ((number, path) for number, path in enumerate(_first_files(site)))
    reading = read_all(jobs, image_size=site.image_size, policy=site.reading, num_workers=1)
    with closing(reading) as outcomes:
        for _, outcome in outcomes:
            if isinstance(outcome, Radiograph):
                return 1, refused
            if isinstance(outcome, Rejection):
                refused[outcome.reason] += 1
    return 0, refused


def _first_files(site: SiteConfig) -> Iterator[Path]:
    folder = site.data_path or Path()
    source = FolderSource(folder, leave_out=[path for _, path in _named(site)])
    items = (item for item in source.items() if item.refused is None)
    yield from (source.file_of(item, folder) for item in islice(items, NUM_LOOKED_AT))


def _named(site: SiteConfig) -> list[tuple[str, Path]]:
    keys = ("labels_path", "opt_out_path", "codec_path", "authority_path")
    named = [(key, getattr(site, key)) for key in keys] + _secret(site)
    return [(key, path) for key, path in named if path is not None]


def _secret(site: SiteConfig) -> list[tuple[str, Path]]:
    password = site.dicomweb.password_path if site.dicomweb else None
    found = (("cache_key_path", site.cache_key_path), ("dicomweb.password_path", password))
    return [(key, path) for key, path in found if path is not None]

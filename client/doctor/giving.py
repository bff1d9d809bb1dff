"""What the hospital itself has decided to give: its orders, its quiet hours, its part of the disk."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from client.control.gate import QUIET, gate_of
from client.control.quiet_hours import are_quiet
from client.doctor.hospital import Hospital
from client.doctor.needs import needs_of
from federation.config import study_digest
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn

GIGABYTE = 1e9


def orders(hospital: Hospital) -> Finding:
    """Have the hospital's own people paused or stopped it?"""
    study = study_digest(hospital.study) if hospital.study else ""
    closed = gate_of(hospital.site).closed(study)
    if closed is None or closed == QUIET:
        return ok("nobody here has paused, stopped or withdrawn it")
    what, _, do = closed.sentence.partition(": ")
    return warn(what, Job.DATA_MANAGER, do)


def quiet_hours(hospital: Hospital) -> Finding:
    """By which clock are quiet hours counted, and is it quiet now?"""
    local = time.localtime()
    zone = f"{local.tm_zone} (UTC{time.strftime('%z', local)})"
    limits = hospital.site.limits
    if not limits.quiet_hours:
        return ok(f"no quiet hours; the machine's time zone is {zone}")
    shown = f"quiet hours {', '.join(limits.quiet_hours)}, by the machine's time zone {zone}"
    if are_quiet(limits.quiet):
        return warn(
            f"it is quiet now, so no round is taken: {shown}",
            Job.DATA_MANAGER,
            "wait; or see that time zone and hours are meant so: timedatectl",
        )
    return ok(shown)


def quota(hospital: Hospital) -> Finding:
    """Does what the hospital keeps, and what a study adds, fit into what it gives of the disk?"""
    limit = hospital.site.limits.disk_bytes
    if limit is None:
        return skipped("limits.disk_bytes is not set: the disk is the limit")
    held = sum(_sizes(hospital.site.state_path))
    more = needs_of(hospital.study, hospital.site).disk_bytes if hospital.study else 0
    shown = f"{_gigabytes(held)} of {_gigabytes(limit)} are taken"
    if held + more > limit:
        return fail(
            f"{shown}, and the study takes {_gigabytes(more)}" if more else shown,
            Job.DATA_MANAGER,
            f"raise limits.disk_bytes in {hospital.site_path}",
        )
    return ok(shown)


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes of every file that is there while it is looked at."""
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield (Path(place) / name).stat(follow_symlinks=False).st_size


def _gigabytes(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB"

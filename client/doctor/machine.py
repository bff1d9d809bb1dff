"""The hospital's machine: disk, memory, processors, GPU."""

import os
import shutil
from pathlib import Path

import psutil

from client.doctor.hospital import Hospital
from client.doctor.needs import needs_of
from client.guard.pool import usable_cpus
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn

GIGABYTE = 1e9
SPARE_DISK_BYTES = 2 * 10**9
"""For logs, the cache's growth and what an ingest writes anew, where no study says more."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  looked at only
MIN_SHARED_BYTES = 64 * 2**20
"""A container's usual size; processes that train together need more."""
GPU_DEVICES = Path("/dev")
MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def disk(hospital: Hospital) -> Finding:
    """Is there room under state_path for what a study keeps here?"""
    place = _existing(hospital.site.state_path)
    free = shutil.disk_usage(place).free
    needed = SPARE_DISK_BYTES
    if hospital.study is not None:
        needed += needs_of(hospital.study, hospital.site).disk_bytes
    shown = f"{_gigabytes(free)} are free under state_path"
    if free < needed:
        return fail(
            f"{shown}, and {_gigabytes(needed)} are needed",
            Job.MACHINE,
            f"free some, or give the folder a larger disk; see: df -h {place}",
        )
    known = "" if hospital.study else ", for any small study"
    return ok(f"{shown}, {_gigabytes(needed)} are enough{known}")


def shared_memory(hospital: Hospital) -> Finding:
    """Is there memory that processes can share?"""
    if not os.access(SHARED_MEMORY, os.W_OK):
        return fail(
            f"{SHARED_MEMORY} is not there for this user",
            Job.MACHINE,
            "mount a tmpfs there; in a container: shm_size: 1gb",
        )
    size = shutil.disk_usage(SHARED_MEMORY).total
    wanted = 2**30 if hospital.site.training.processes > 1 else MIN_SHARED_BYTES
    if size < wanted:
        return warn(
            f"{SHARED_MEMORY} has {size / 2**20:.0f} MiB, {wanted / 2**20:.0f} are wanted",
            Job.MACHINE,
            "make it larger; in a container: shm_size: 1gb",
        )
    return ok(f"{SHARED_MEMORY} has {size / 2**20:.0f} MiB")


def memory(hospital: Hospital) -> Finding:
    """Does the study's model fit, while it trains?"""
    if hospital.study is None:
        return skipped("no study is known yet; name one with --study")
    import torch  # noqa: PLC0415  a second, where it is needed alone

    if torch.cuda.is_available():
        there, where = torch.cuda.mem_get_info()[0], "the GPU"
    else:
        there, where = free_memory(), "this machine"
    needed = needs_of(hospital.study, hospital.site).memory_bytes
    shown = f"training {hospital.study.model.size} takes about {_gigabytes(needed)}, {where} has {_gigabytes(there)} free"
    if needed > there:
        return fail(
            shown,
            Job.MACHINE,
            "give it more memory, or set training.recompute: true or training.processes in the profile",
        )
    if 1.25 * needed > there:
        return warn(shown, Job.MACHINE, "end other programs while a round trains")
    return ok(shown)


def gpu(hospital: Hospital) -> Finding:
    """Does the program see the GPUs that the machine has?"""
    devices = sorted(GPU_DEVICES.glob("nvidia[0-9]*"))
    import torch  # noqa: PLC0415  a second, where it is needed alone

    seen, wanted = torch.cuda.device_count(), hospital.site.training.processes
    named = hospital.site.limits.gpus
    if devices and not seen:
        return fail(
            f"the machine has {len(devices)} GPU(s), and the program sees none",
            Job.MACHINE,
            "type: nvidia-smi; in a container, start it anew (systemctl daemon-reload takes GPUs away), or install "
            "torch for this driver",
        )
    absent = [number for number in named or () if number >= seen]
    if absent:
        return fail(
            f"limits.gpus names GPU {', '.join(map(str, absent))}, and there are {seen} GPU(s): no round is trained",
            Job.DATA_MANAGER,
            f"correct limits.gpus in {hospital.site_path}: numbers from 0, as nvidia-smi shows them",
        )
    given = seen if named is None else len(named)
    if not given:
        return ok("no GPU: training runs on the processor")
    if wanted > given:
        return warn(
            f"training.processes is {wanted}, and {given} GPU(s) may train",
            Job.DATA_MANAGER,
            f"set training.processes: {given} in the profile",
        )
    part = hospital.site.limits.gpu_memory
    return ok(f"{wanted} of {given} GPU(s) train, with {100 * part:.0f} % of their memory")


def processors(hospital: Hospital) -> Finding:
    """Are there as many processors as threads that train?"""
    there, wanted = usable_cpus(), hospital.site.num_threads
    if wanted > there:
        return warn(
            f"num_threads is {wanted}, and this process may use {there} processor(s)",
            Job.DATA_MANAGER,
            f"set num_threads: {there} in the profile",
        )
    return ok(f"{wanted} thread(s) train, {there} processor(s) are there")


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, or of the container around it."""
    free = psutil.virtual_memory().available
    for path in MEMORY_LIMITS:
        try:
            limit = int(path.read_text())
        except (OSError, ValueError):
            continue
        return min(free, max(0, limit - psutil.Process().memory_info().rss))
    return free


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _gigabytes(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB"

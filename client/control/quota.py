"""The part of the disk that a hospital gives: what its state folder holds, and what a round or an ingest will add to it."""

import os
from pathlib import Path

from client.config import SiteConfig
from client.refused import NotTaken
from federation.messages import Instruction, RefusalCode, Shipment

CHANGE_AND_OPTIMIZER = 4
"""Times the trained tensors: their change, what rounding took of it, and the optimizer's two means."""
PIXEL_BYTES = 2
BESIDE_PIXELS = 2048
"""Bytes that a record takes beside its pixels, at most: its seal, its place in the journal and in a version."""


class QuotaReached(RuntimeError):
    """What the hospital's profile gives of its disk is used up by its cache and state."""

    def __init__(self, *, needed: int, used: int, quota: int) -> None:
        super().__init__(
            f"The next radiographs take {needed / 1e6:.0f} MB under state_path, and of the {quota / 1e6:.0f} MB that the "
            f"profile gives (limits.disk_bytes) {max(0, quota - used) / 1e6:.0f} MB are free. What was read so far is kept "
            "and is not read again; the cache is as before. The data manager raises limits.disk_bytes or frees some room "
            "there, then types the same command again."
        )


def used_bytes(folder: Path) -> int:
    """What a folder takes of the disk; a file that goes meanwhile counts nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118  a walk gives texts
            except FileNotFoundError:
                continue
    return total


def require_room(site: SiteConfig, instruction: Instruction, received: Path) -> None:
    """Take an instruction only if everything that comes of it stays within the profile's ``disk_bytes``.

    Args:
        site: This hospital.
        instruction: What is asked for.
        received: Folder of what came before; what lies there need not come again.

    Raises:
        NotTaken: there is too little room.
    """
    quota = site.limits.disk_bytes
    if quota is None:
        return
    used, needed = used_bytes(site.state_path), needed_bytes(instruction, received)
    if used + needed > quota:
        raise NotTaken(
            RefusalCode.DISK,
            f"the round needs {needed / 1e6:.0f} MB under this hospital's state_path and its profile gives "
            f"{max(0, quota - used) / 1e6:.0f} MB more: its data manager raises limits.disk_bytes or frees some room",
        )


def require_room_for_records(site: SiteConfig, num_records: int) -> None:
    """See that so many more radiographs stay within the profile's ``disk_bytes``.

    Raises:
        QuotaReached: they would not.
    """
    quota = site.limits.disk_bytes
    if quota is None:
        return
    needed = num_records * (PIXEL_BYTES * site.image_size**2 + BESIDE_PIXELS)
    used = used_bytes(site.state_path)
    if used + needed > quota:
        raise QuotaReached(needed=needed, used=used, quota=quota)


def needed_bytes(instruction: Instruction, received: Path) -> int:
    """What a round adds to the disk at most."""
    shipments = (instruction.weights, instruction.base)
    coming = sum(_missing_bytes(each, received) for each in shipments if each is not None)
    return coming + CHANGE_AND_OPTIMIZER * instruction.weights.parcel.num_bytes


def _missing_bytes(shipment: Shipment, received: Path) -> int:
    held = received / f"{shipment.digest}.safetensors"
    return 0 if held.exists() else shipment.parcel.num_bytes

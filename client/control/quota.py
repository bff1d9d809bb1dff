"""The part of the disk that a hospital gives: what its state folder holds, and what a round will add to it."""

import os
from pathlib import Path

from client.config import SiteConfig
from client.refused import NotTaken
from federation.messages import Instruction, RefusalCode, Shipment

CHANGE_AND_OPTIMIZER = 4
"""Times the trained tensors: their change, what rounding took of it, and the optimizer's two means."""


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


def needed_bytes(instruction: Instruction, received: Path) -> int:
    """What a round adds to the disk at most."""
    shipments = (instruction.weights, instruction.base)
    coming = sum(_missing_bytes(each, received) for each in shipments if each is not None)
    return coming + CHANGE_AND_OPTIMIZER * instruction.weights.parcel.num_bytes


def _missing_bytes(shipment: Shipment, received: Path) -> int:
    held = received / f"{shipment.digest}.safetensors"
    return 0 if held.exists() else shipment.parcel.num_bytes

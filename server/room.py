"""Room on the coordinator's disk: how much a round needs, and the reason to stop where there is less."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from federation.stages import FullStage, LoraStage
from model.tensor_file import VALUE_BYTES
from model.tensors import Shapes, num_values
from server.aggregation.combine import needs_all_shards
from server.aggregation.outer import moment_names
from server.state_folder import NO_ROOM

SPARE_BYTES = 64 * 2**20
"""Kept for databases, messages and headers of files, whatever else is written."""


class NoRoom(RuntimeError):
    """The disk has less room than the next thing to write needs."""

    def __init__(self, path: Path, *, needed_bytes: int) -> None:
        super().__init__(
            f"{path} has {_gigabytes(free_bytes(path))} of free room, and the study needs {_gigabytes(needed_bytes)} "
            "to go on: whoever keeps this machine has to free some (`df -h` shows the disks), and the study then goes "
            "on by itself"
        )
        self.path, self.needed_bytes = path, needed_bytes


def free_bytes(path: Path) -> int:
    """Bytes that this process may still write where a file or folder lies."""
    return shutil.disk_usage(path).free


def check_room(path: Path, needed_bytes: int) -> None:
    """Make sure that so much can be written, and the usual small things besides.

    Raises:
        NoRoom: there is less.
    """
    if free_bytes(path) < needed_bytes + SPARE_BYTES:
        raise NoRoom(path, needed_bytes=needed_bytes + SPARE_BYTES)


@contextmanager
def within_room(path: Path, needed_bytes: int) -> Iterator[None]:
    """Check the room for what the block writes; should the disk fill up in spite of that, say so likewise.

    Raises:
        NoRoom: there is too little, or it was taken in the meantime.
    """
    check_room(path, needed_bytes)
    try:
        yield
    except (OSError, sqlite3.Error) as err:
        if not is_full_disk(err):
            raise
        raise NoRoom(path, needed_bytes=needed_bytes + SPARE_BYTES) from err


def is_full_disk(err: OSError | sqlite3.Error) -> bool:
    """Whether writing failed for want of room."""
    if isinstance(err, OSError):
        return err.errno in NO_ROOM
    return getattr(err, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def file_bytes(shapes: Shapes) -> int:
    """Bytes of tensors in a file, without its header."""
    return VALUE_BYTES * num_values(shapes)


def room_for_round(
    stage: FullStage | LoraStage,
    *,
    weights_bytes: int,
    step_bytes: int,
    num_sites: int,
    change_bytes: int,
    max_scratch: int | None,
) -> int:
    """Bytes that a round writes before it frees any: its own files, and the changes that it is made from.

    The files are the next weights, as much again for each thing that the outer step remembers and for the moving
    average, and the step as it travels. The files of the last two rounds stay meanwhile: they are on the disk already.

    Args:
        stage: whose round it is.
        weights_bytes: of the stage's weights (``file_bytes``).
        step_bytes: of the encoded step; 0 if none is kept.
        num_sites: hospitals whose changes may lie here at once.
        change_bytes: of one hospital's change, as it travels.
        max_scratch: what all changes may take at once; None if there is no cap.
    """
    num_sets = 1
    if isinstance(stage, FullStage):
        num_sets += len(moment_names(stage.outer)) + (stage.ema_decay > 0)
    changes = num_sites * change_bytes
    if max_scratch is not None:
        changes = min(changes, max_scratch)
    return num_sets * weights_bytes + step_bytes + changes


def needs_room_for_all(stage: FullStage | LoraStage) -> bool:
    """Whether the stage's rules look at whole changes, so that a cap on scratch cannot hold."""
    return needs_all_shards(stage.combine) or isinstance(stage, LoraStage)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"

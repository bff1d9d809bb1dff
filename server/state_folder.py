"""The coordinator's state folder, tried before anything is started in it."""

import contextlib
import errno
import os
import pwd
import tempfile
from pathlib import Path

from federation.files import make_private_folder

PROBE_BYTES = 2**20
"""What keys, certificates and Flower's database take at a first start, roughly."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_OURS = frozenset({errno.EACCES, errno.EPERM})


class StateFolderUnusable(RuntimeError):
    """The coordinator cannot keep anything there."""

    def __init__(self, folder: Path, err: OSError) -> None:
        super().__init__(f"{folder} {_complaint(folder, err)}")


def open_state_folder(path: Path) -> Path:
    """Make the folder if it is missing, and see that this process can write into it.

    Raises:
        StateFolderUnusable: if it is read-only, full, or someone else's; nothing was left behind.
        FileExistsError: if it is a file.
    """
    is_new = False
    try:
        is_new = not path.exists()
        make_private_folder(path)
        _try_to_write(path)
    except OSError as err:
        if is_new:
            with contextlib.suppress(OSError):
                path.rmdir()
        if err.errno in NO_ROOM | NOT_OURS | {errno.EROFS}:
            raise StateFolderUnusable(path, err) from err
        raise
    return path


def _try_to_write(path: Path) -> None:
    for entry in path.iterdir():
        if not os.access(entry, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(entry))
    with tempfile.TemporaryFile(dir=path) as probe:
        probe.write(bytes(PROBE_BYTES))
        probe.flush()
        os.fsync(probe.fileno())


def _complaint(folder: Path, err: OSError) -> str:
    """What is wrong, whose job it is, what to type."""
    if err.errno in NO_ROOM:
        return (
            f"has less than {PROBE_BYTES // 2**20} MiB of free room: whoever keeps this machine has to free some "
            "(`df -h` shows the disks), then type the same again; or name another folder with --state"
        )
    if err.errno == errno.EROFS:
        return (
            "is on a read-only file system: whoever keeps this machine has to mount it writable, then type the "
            "same again; or name another folder with --state"
        )
    place = _existing(Path(err.filename or folder))
    owner, me = _owner(place), _name(os.geteuid())
    mend = (
        f"chown -R {me} {folder}"
        if place.is_relative_to(folder)
        else f"install -d -o {me} {folder}"
    )
    return (
        f"is not open to this process: {place} belongs to {owner}, and this is {me}. Start the coordinator as {owner}, "
        f"or have whoever keeps this machine type `{mend}`"
    )


def _existing(path: Path) -> Path:
    """What was refused; of a folder that could not be made, the one it should be in."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            place.stat()
            return place
    return path


def _owner(path: Path) -> str:
    try:
        return _name(path.stat().st_uid)
    except OSError:
        return "someone else"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"

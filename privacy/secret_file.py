"""A file of random bytes that is made once, whole and durable, readable by its owner alone."""

import os
import secrets
from pathlib import Path


def create_secret(path: Path, num_bytes: int) -> None:
    """Make the file unless another process is faster; then that one's bytes count.

    It appears complete or not at all. Its folder is made, too, with mode 0700.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(num_bytes))
            file.flush()
            os.fsync(file.fileno())
        _link_unless_present(draft, path)
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _link_unless_present(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

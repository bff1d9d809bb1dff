"""A folder that anyone may have filled -> the regular files in it, in a fixed order."""

import os
from collections.abc import Iterator
from pathlib import Path


class DataFolderMissing(ValueError):
    """The configured data folder is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The data folder {path} is not a folder that this user can open. The data manager mounts it "
            "or corrects the path; then type the same command again."
        )


def find_files(folder: Path) -> list[Path]:
    """List every regular file below the folder, sorted by name.

    Links are never followed, so nothing outside the folder is read and no circle is walked. A folder
    that cannot be opened is listed itself: reading it fails, and so it is counted instead of missed.

    Raises:
        DataFolderMissing: the folder itself cannot be opened.
    """
    root = folder.resolve()
    try:
        with os.scandir(root):
            pass
    except OSError:
        raise DataFolderMissing(folder) from None
    return sorted(_walk(root), key=os.fsencode)


def _walk(root: Path) -> Iterator[Path]:
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            yield folder
            continue
        pending += [Path(e.path) for e in found if e.is_dir(follow_symlinks=False)]
        yield from (Path(e.path) for e in found if e.is_file(follow_symlinks=False))

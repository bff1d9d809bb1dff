"""A folder that anyone may have filled -> the regular files in it, each once, in a fixed order.

Links need no following: whatever a link inside the folder leads to inside the folder is found under its
own name, so circles are never walked and nothing counts twice. A link that leaves the folder is counted
and its target never opened. In the same way an index (DICOMDIR, PS3.10 section 8) needs no reading: the
files that it may list lie below the folder it is in, whatever their names, and are found there, also those
that an outdated index does not know.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from client.dicom.rejection import Reason
from client.sources.item import Item, ItemLost, SourceFailed

_INDEX_NAME = "DICOMDIR"
_INDEX_KIND = b"1.2.840.10008.1.3.10"
_META_HEADER_BYTES = 1024
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
"""Not the last number of a file that is named by a unique identifier."""

_Place = tuple[int, int]
"""Device and inode: the same for all names of one file."""


class DataFolderMissing(SourceFailed):
    """The configured data folder is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The data folder {path} is not a folder that this user can open. The data manager mounts it "
            "or corrects the path; then type the same command again."
        )


class FolderSource:
    """Every file below a folder."""

    origin = "folder"
    mirrored = True

    def __init__(self, root: Path, *, leave_out: Collection[Path] = ()) -> None:
        """Keep the places in mind.

        Args:
            root: the data folder.
            leave_out: files and folders that are no data wherever they lie, such as the labels.
        """
        self._configured = root
        self._root = root.resolve()
        self._leave_out = frozenset(str(path.resolve()) for path in leave_out)

    def items(self) -> Iterator[Item]:
        """All files, sorted by path as bytes; what cannot be opened is counted instead of missed.

        Raises:
            DataFolderMissing: the folder itself cannot be opened.
        """
        try:
            entries = _listed(self._root)
        except OSError:
            raise DataFolderMissing(self._configured) from None
        return self._walk(entries)

    def file_of(self, item: Item, scratch: Path) -> Path:  # noqa: ARG002  the file is there already
        """The file itself.

        Raises:
            ItemLost: it is no longer inside the folder.
        """
        path = self._root / item.name
        if os.path.realpath(path) != str(path):
            raise ItemLost("A file of the data folder was replaced by a link while it was read.")
        return path

    def settled(self, item: Item) -> None:
        """Nothing: the folder is only read."""

    def _walk(self, entries: list[os.DirEntry[str]]) -> Iterator[Item]:
        # A stack of its own: folders may be nested more deeply than functions.
        pending, seen = entries[::-1], set[_Place]()
        while pending:
            entry = pending.pop()
            if entry.path in self._leave_out:
                continue
            if entry.is_symlink():
                yield from self._of_link(entry)
            elif entry.is_file(follow_symlinks=False):
                yield from self._of_file(entry, seen)
            elif entry.is_dir(follow_symlinks=False):
                try:
                    pending += _listed(entry.path)[::-1]
                except OSError:
                    yield self._refused(entry.path, Reason.UNREADABLE)

    def _of_link(self, entry: os.DirEntry[str]) -> Iterator[Item]:
        target = os.path.realpath(entry.path)
        if os.path.commonpath([self._root, target]) != str(self._root):
            yield self._refused(entry.path, Reason.OUTSIDE_LINK)
        elif not Path(target).exists():
            yield self._refused(entry.path, Reason.UNREADABLE)

    def _of_file(self, entry: os.DirEntry[str], seen: set[_Place]) -> Iterator[Item]:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            yield self._refused(entry.path, Reason.UNREADABLE)
            return
        place = status.st_dev, status.st_ino
        if place in seen or _is_index(entry):
            return
        if status.st_nlink > 1:
            seen.add(place)
        yield Item(
            name=self._name(entry.path),
            version=f"{status.st_size}-{status.st_mtime_ns}",
            labelled_as=_ENDING.sub("", entry.name),
        )

    def _refused(self, path: str, reason: Reason) -> Item:
        return Item(name=self._name(path), version="", refused=reason)

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._root)


def _listed(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds, in the order that the whole paths have as bytes."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=_sort_key)


def _sort_key(entry: os.DirEntry[str]) -> bytes:
    name = os.fsencode(entry.name)
    return name + b"/" if entry.is_dir(follow_symlinks=False) else name


def _is_index(entry: os.DirEntry[str]) -> bool:
    """Whether a file is a DICOMDIR and not a radiograph that someone gave its name."""
    if entry.name.upper() != _INDEX_NAME:
        return False
    try:
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return regular and _INDEX_KIND in file.read(_META_HEADER_BYTES)

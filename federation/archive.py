"""A backup: one file, whole or not there, in which every part is checked before any of it is put in place.

The file is a tar archive that begins with a list of its parts and their digests. Nothing is taken out of it under a
name that is not on that list, and no name leads out of the folder that it is taken out to.
"""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from federation.bundle import bundle_version
from federation.files import make_private_folder, sync_folder
from federation.terminal import shown

FORMAT = 1
LIST_NAME = "backup.json"
LINKED = frozenset({".safetensors"})
"""Files that are only ever replaced as a whole: a second name keeps one, however large, as it is now."""
CHUNK_BYTES = 2**20
MAX_LIST_BYTES = 2**26
MAX_LOOKS = 20
"""Looks at something that keeps changing, before giving up."""


class BackupUnusable(ValueError):
    """A file that is no backup, or not all of one."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} {why}: nothing was put in place. Whoever keeps the backups takes another copy of it, or an older one"
        )


class PlaceTaken(ValueError):
    """Something is where a backup was to be put."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not empty: a backup is put where nothing is. Move what is there aside, or name another place"
        )


class KeepsChanging(RuntimeError):
    """What was to be backed up never stood still for a moment."""

    exit_code = 1

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} changed faster than it could be read: type the same again")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a backup says of itself."""

    side: str
    """``coordinator`` or ``hospital``."""
    release: str
    made: str
    """ISO 8601, UTC."""
    with_keys: bool
    left_out: tuple[str, ...]
    """Secret files that exist and are not in it."""
    files: Mapping[str, str]
    """Name, with slashes, to the SHA-256 of the content."""


class Draft:
    """A folder in which the parts of a backup are brought together; `draft_in` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, source: Path, name: str) -> None:
        """Take a file as it is now; one that is gone by now is left out."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            if source.suffix in LINKED:
                with suppress(OSError):
                    os.link(source, target)
                    return
            shutil.copyfile(source, target)

    def add_database(self, source: Path, name: str) -> None:
        """Take an SQLite database as of one moment, also while another process writes to it."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        copying = closing(sqlite3.connect(target))
        with closing(sqlite3.connect(source, timeout=30)) as live, copying as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")

    def add_folder(self, source: Path, name: str, *, wanted: Callable[[Path], bool]) -> None:
        """Take the files below a folder that are wanted; databases are taken as of one moment."""
        for path in files_below(source):
            if not wanted(path.relative_to(source)):
                continue
            target = (PurePosixPath(name) / path.relative_to(source).as_posix()).as_posix()
            if path.suffix == ".db":
                self.add_database(path, target)
            else:
                self.add(path, target)

    def clear_folder(self, name: str) -> None:
        """Forget what was taken under a name."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def files(self) -> Iterator[tuple[str, Path]]:
        """Everything that was taken, in order of name."""
        for path in files_below(self.folder):
            yield path.relative_to(self.folder).as_posix(), path


def files_below(folder: Path) -> list[Path]:
    """Every file, in order of name; folders that are gone by the time it is their turn hold none."""
    found = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


@contextmanager
def draft_in(state_path: Path) -> Iterator[Draft]:
    """An empty draft on the disk of the state folder, gone afterwards."""
    with tempfile.TemporaryDirectory(dir=state_path, prefix=".backup-") as folder:
        yield Draft(Path(folder))


def write_backup(
    target: Path, draft: Draft, *, side: str, with_keys: bool, left_out: tuple[str, ...]
) -> Contents:
    """Put a draft into one file, readable by its owner alone, which replaces an older one in one step."""
    contents = Contents(
        side=side,
        release=bundle_version(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        with_keys=with_keys,
        left_out=left_out,
        files={name: _digest(path) for name, path in draft.files()},
    )
    make_private_folder(target.parent)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write_archive(file, contents, draft)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(target.parent)
    return contents


def read_contents(path: Path) -> Contents:
    """What a backup says of itself; its files are not looked at yet.

    Raises:
        BackupUnusable: it is none, or of a newer release.
    """
    with _opened(path) as archive:
        return _contents(archive, path)


def unpack(path: Path, side: str, folder: Path) -> Contents:
    """Take everything out of a backup into an empty folder, and see that it is all there.

    Raises:
        BackupUnusable: it is none, of the other side, or not as it was written.
    """
    with _opened(path) as archive:
        contents = _contents(archive, path)
        if contents.side != side:
            raise BackupUnusable(path, f"is the backup of a {contents.side}")
        missing = set(contents.files)
        while (member := archive.next()) is not None:
            _take(archive, member, contents, folder, path)
            missing.discard(member.name)
    if missing:
        raise BackupUnusable(path, f"lacks {len(missing)} of its {len(contents.files)} files")
    return contents


def check_place(folder: Path) -> None:
    """See that nothing is where a backup is to be put.

    Raises:
        PlaceTaken: something is.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PlaceTaken(shown(folder))


@contextmanager
def unpacked(path: Path, side: str, beside: Path) -> Iterator[tuple[Contents, Path]]:
    """Everything in a backup, checked, in a folder on the disk of the place that it is meant for."""
    make_private_folder(beside.parent)
    with tempfile.TemporaryDirectory(dir=beside.parent, prefix=".restore-") as name:
        folder = Path(name) / "content"
        folder.mkdir(mode=0o700)
        yield unpack(path, side, folder), folder


def put_in_place(folder: Path, target: Path) -> None:
    """Make an unpacked folder the target, in one step where the target's own folder can be replaced."""
    if target.exists():
        with suppress(OSError):  # a mount point stays
            target.rmdir()
    if not target.exists():
        folder.rename(target)
    else:
        for path in sorted(folder.iterdir()):
            shutil.move(path, target / path.name)
    sync_folder(target)
    sync_folder(target.parent)


def _write_archive(file: io.BufferedIOBase, contents: Contents, draft: Draft) -> None:
    head = json.dumps(asdict(contents) | {"format": FORMAT}, indent=1).encode()
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(LIST_NAME)
        entry.size, entry.mode = len(head), 0o600
        archive.addfile(entry, io.BytesIO(head))
        for name, path in draft.files():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o600
            with path.open("rb") as content:
                archive.addfile(entry, content)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    if not path.is_file():
        raise BackupUnusable(path, "is no file")
    try:
        with tarfile.open(path, mode="r|") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as err:
        raise BackupUnusable(path, "is no backup, or is cut short") from err


def _contents(archive: tarfile.TarFile, path: Path) -> Contents:
    first = archive.next()
    file = archive.extractfile(first) if first is not None and first.name == LIST_NAME else None
    if file is None:
        raise BackupUnusable(path, "is no backup")
    try:
        facts = json.loads(file.read(MAX_LIST_BYTES))
        written = facts.pop("format")
        if written != FORMAT:
            raise BackupUnusable(path, f"is of format {written}, and this release reads {FORMAT}")
        return Contents(**facts | {"left_out": tuple(facts["left_out"])})
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        if isinstance(err, BackupUnusable):
            raise
        raise BackupUnusable(path, "begins with a list that cannot be read") from err


def _take(
    archive: tarfile.TarFile, member: tarfile.TarInfo, contents: Contents, folder: Path, path: Path
) -> None:
    name = PurePosixPath(member.name)
    source = archive.extractfile(member) if member.isfile() else None
    if source is None or member.name not in contents.files:
        raise BackupUnusable(path, "holds something that is not on its list")
    if name.is_absolute() or ".." in name.parts:
        raise BackupUnusable(path, "holds a name that leads elsewhere")
    target = folder / name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sha = hashlib.sha256()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            sha.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if sha.hexdigest() != contents.files[member.name]:
        raise BackupUnusable(path, "is damaged")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Small disks in memory that fill up, grow, and turn read-only; only this process and its children see them."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NEW_MOUNTS = 0x00020000
"""`unshare`: what is mounted from now on is seen by nobody else."""
BLOCK_BYTES = 2**16


class SmallDisk:
    """A folder on a disk of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def resize(self, megabytes: int) -> None:
        """Give it another size, as an administrator who extends a volume."""
        _mount("-o", f"remount,size={megabytes}m", str(self.path))

    def fill(self) -> None:
        """Leave no room at all."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(BLOCK_BYTES))
            except OSError:
                return

    def free(self) -> int:
        """Bytes that can be written."""
        numbers = os.statvfs(self.path)
        return numbers.f_bavail * numbers.f_frsize

    def empty(self) -> None:
        """Give all room back that was taken by filling it."""
        self._ballast.unlink()


class FailingDisk:
    """A folder on a file system that can be told to fail: it turns read-only whoever writes to it."""

    def __init__(self, path: Path, image: Path) -> None:
        self.path, self._image = path, image

    def mount(self) -> None:
        """Make it usable, also after it failed."""
        subprocess.run(["e2fsck", "-fy", str(self._image)], check=False, capture_output=True)
        _mount("-o", "loop,errors=remount-ro", str(self._image), str(self.path))

    def fail(self) -> None:
        """Turn it read-only, as a kernel does that finds it broken."""
        _mount("-o", "remount,abort", str(self.path))

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@contextmanager
def failing_disk(path: Path, image: Path, megabytes: int) -> Iterator[FailingDisk]:
    """Mount one; where that is not allowed, the test is skipped."""
    path.mkdir(parents=True)
    _hide_mounts()
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    disk = FailingDisk(path, image)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
        disk.mount()
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("mounting a file as a disk is not allowed here")
    try:
        yield disk
    finally:
        disk.unmount()


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount one; where that is not allowed, the test is skipped."""
    path.mkdir(parents=True)
    _hide_mounts()
    try:
        _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "fedcxr-test", str(path))
    except subprocess.CalledProcessError:
        pytest.skip("mounting a disk is not allowed here")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _hide_mounts() -> None:
    """Give this process its own list of mounts; a second time that does no harm."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(NEW_MOUNTS) != 0:
        pytest.skip(f"mounting a disk is not allowed here: {os.strerror(ctypes.get_errno())}")
    _mount("--make-rprivate", "/")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)

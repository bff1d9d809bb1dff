"""How many bytes of shards each hospital really fetched and left: a line a request, in a file a space and hospital.

The gateway adds lines, the study's process adds them up. Nothing of it is needed for a round: a disk that is full, or a
machine that goes down, costs counts and nothing else.
"""

import contextlib
import shutil
import time
from pathlib import Path

from federation.files import make_private_folder


class Traffic:
    """The counts of one coordinator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, space: str, site: str, num_bytes: int) -> None:
        """So much of a request has passed; small enough to be written at once, and whole."""
        if num_bytes <= 0:
            return
        with contextlib.suppress(OSError):
            folder = make_private_folder(self._folder / space)
            with (folder / site).open("ab", buffering=0) as lines:
                lines.write(f"{time.time():.6f} {num_bytes}\n".encode())

    def total(self, prefix: str, site: str, *, since: float = 0.0) -> int:
        """Bytes of a hospital, in all spaces whose names begin so, from a time on (seconds since 1970)."""
        files = [folder / site for folder in self._listed(prefix)]
        lines = [line for path in files if path.exists() for line in path.read_text().splitlines()]
        noted = [line.split() for line in lines]
        return sum(int(num_bytes) for when, num_bytes in noted if float(when) >= since)

    def forget(self, prefix: str) -> None:
        """Count no longer what passed in spaces whose names begin so."""
        for folder in self._listed(prefix):
            shutil.rmtree(folder, ignore_errors=True)

    def _listed(self, prefix: str) -> list[Path]:
        return sorted(self._folder.glob(f"{prefix}*"))


def traffic_path(state_path: Path) -> Path:
    """Where the counts lie in a coordinator's state folder."""
    return state_path / "blobs" / "traffic"

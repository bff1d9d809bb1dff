"""The folders of a study's rounds: one for each, written under another name until it is whole, removed when old.

The last two rounds are kept, and the end of every stage.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

from federation.files import sync_folder


def round_folder(rounds: Path, number: int) -> Path:
    """Where a whole round's files lie."""
    return rounds / f"{number:05d}"


def open_part(target: Path) -> Path:
    """An empty folder to write a round into that is not whole yet.

    Args:
        target: the round's own folder (``round_folder``).
    """
    folder = _part(target)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def settle_part(target: Path) -> None:
    """Bring what was written to the disk, and give it the round's own name."""
    shutil.rmtree(target, ignore_errors=True)
    sync_folder(_part(target))
    _part(target).rename(target)
    sync_folder(target.parent)


def remove_unsettled(rounds: Path, last: int) -> None:
    """Remove every folder that is not of a round up to the last one that counts (0: of none)."""
    for folder in rounds.iterdir():
        if folder.suffix == ".part" or int(folder.name) > last:
            shutil.rmtree(folder, ignore_errors=True)


def remove_old(rounds: Path, current: int, ends: Collection[int]) -> None:
    """Remove the rounds before the last two, except those that end a stage."""
    for folder in rounds.glob("[0-9]" * 5):
        if int(folder.name) < current - 1 and int(folder.name) not in ends:
            shutil.rmtree(folder)


def _part(target: Path) -> Path:
    return target.with_suffix(".part")

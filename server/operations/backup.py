"""Backup and restore of a coordinator: its studies with their last rounds, its roster, and on request its keys.

Taken while it runs. A study is copied between two commits: if one falls into the copying, the copy is made again. Left
out is what a start makes anew: Flower's own database, logs, what hospitals have left for an open round.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from federation.archive import (
    MAX_LOOKS,
    Contents,
    Draft,
    KeepsChanging,
    check_place,
    draft_in,
    files_below,
    put_in_place,
    unpacked,
    write_backup,
)
from server.endpoint import ENDPOINT_NAME, CoordinatorNotRunning
from server.survey import naming_record, study_folders

SIDE = "coordinator"
MADE_ANEW = frozenset({"flower", "logs", "blobs", "scratch", ENDPOINT_NAME, "superexec.secret"})
SECRET_SUFFIXES = frozenset({".key", ".secret", ".password"})


def backup(state_path: Path, target: Path, *, with_keys: bool) -> Contents:
    """Write one file from which this coordinator can be had again.

    Args:
        state_path: its folder; it may be running.
        target: the file; an older one is replaced in one step.
        with_keys: whether its secret keys are in it. Then the file is as secret as they are.

    Raises:
        CoordinatorNotRunning: there is no coordinator in that folder, running or not.
        KeepsChanging: a study committed a round at every look.
        DamagedStudy: a study's record cannot be read.
    """
    if not (state_path / "tls").is_dir():
        raise CoordinatorNotRunning(state_path)
    secrets = _secrets(state_path)
    with draft_in(state_path) as draft:
        for folder in study_folders(state_path):
            _add_study(draft, state_path, folder)
        draft.add_folder(state_path, "", wanted=lambda path: _is_kept(path, with_keys=with_keys))
        left_out = () if with_keys else secrets
        return write_backup(target, draft, side=SIDE, with_keys=with_keys, left_out=left_out)


def restore(source: Path, state_path: Path) -> Contents:
    """Make a state folder from a backup.

    Raises:
        PlaceTaken: the folder is not empty.
        BackupUnusable: the file is not the whole backup of a coordinator.
    """
    check_place(state_path)
    with unpacked(source, SIDE, state_path) as (contents, folder):
        for study in folder.glob("studies/*"):
            for name in ("rounds", "scratch"):
                (study / name).mkdir(mode=0o700, exist_ok=True)
        put_in_place(folder, state_path)
    return contents


def _add_study(draft: Draft, state_path: Path, folder: Path) -> None:
    """One study as it is between two commits."""
    name = folder.relative_to(state_path).as_posix()
    for _ in range(MAX_LOOKS):
        with naming_record(folder):
            before = _num_rounds(folder / "study.db")
        draft.add_folder(folder, name, wanted=_is_of_study)
        if (
            _num_rounds(folder / "study.db")
            == before
            == _num_rounds(draft.folder / name / "study.db")
        ):
            return
        draft.clear_folder(name)
    raise KeepsChanging(f"study {folder.name}")


def _num_rounds(database: Path) -> int:
    with closing(
        sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)
    ) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM rounds").fetchone()[0])


def _is_of_study(path: Path) -> bool:
    parts = path.parts
    is_draft = any(part.startswith(".") or part.endswith(".part") for part in parts)
    is_made_anew = parts[0] == "scratch" or path.name == "lock" or path.name.endswith("-journal")
    return not is_draft and not is_made_anew


def _is_kept(path: Path, *, with_keys: bool) -> bool:
    """Whether a file outside the studies belongs into a backup."""
    if path.parts[0] in MADE_ANEW | {"studies"} or any(part.startswith(".") for part in path.parts):
        return False
    if path.name.startswith("superlink.db") or path.suffix == ".lock" or path.name == "lock":
        return False
    return with_keys or path.suffix not in SECRET_SUFFIXES


def _secrets(state_path: Path) -> tuple[str, ...]:
    found = (
        path.relative_to(state_path)
        for path in files_below(state_path)
        if path.suffix in SECRET_SUFFIXES
    )
    return tuple(sorted(p.as_posix() for p in found if _is_kept(p, with_keys=True)))

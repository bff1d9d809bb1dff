"""Every study of a coordinator, one by one: one that cannot be read is named, and hides none of the others."""

import json
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from server.store import StudyStore

View = TypeVar("View")

STUDY = "study.json"
RECORD = "study.db"


class DamagedStudy(RuntimeError):
    """A study that cannot be read; says what is wrong with it, whose job it is, and what to type."""

    def __init__(self, folder: Path, problem: str, remedy: str) -> None:
        self.folder = folder
        super().__init__(
            f"study {folder.name} cannot be read: {problem}; whoever runs the coordinator {remedy}"
        )


def survey(
    state_path: Path, look: Callable[[StudyStore], View]
) -> tuple[list[View], list[DamagedStudy]]:
    """What there is to see of every study, in order of name, and the studies that cannot be read."""
    views: list[View] = []
    damaged: list[DamagedStudy] = []
    for folder in study_folders(state_path):
        try:
            store = _opened(folder)
            with naming_record(folder):
                views.append(look(store))
        except DamagedStudy as err:
            damaged.append(err)
    return views, damaged


def open_study(folder: Path) -> StudyStore:
    """A study whose file and whose record can be read.

    Raises:
        DamagedStudy: if one of them cannot.
    """
    store = _opened(folder)
    with naming_record(folder):
        return answering(store)


def answering(store: StudyStore) -> StudyStore:
    """Itself, once its record has answered."""
    store.rounds()
    return store


def damaged_studies(state_path: Path) -> list[DamagedStudy]:
    """The studies that cannot be read."""
    return survey(state_path, answering)[1]


def study_folders(state_path: Path) -> list[Path]:
    """Of every study, in order of name; one that is just being created is none yet."""
    folders = sorted((state_path / "studies").glob("*"))
    return [each for each in folders if (each / STUDY).exists() or _has_rounds(each)]


def _has_rounds(folder: Path) -> bool:
    """Whether a folder without the file that makes it a study was one before."""
    return any((folder / "rounds").glob("[0-9]" * 5))


def _opened(folder: Path) -> StudyStore:
    try:
        return StudyStore(folder)
    except FileNotFoundError as err:
        raise DamagedStudy(folder, f"its {STUDY} is gone", _write_anew(folder)) from err
    except OSError as err:
        raise _unreadable(folder, err) from err
    except ValueError as err:
        if _is_json(folder / STUDY):
            problem = f"its {STUDY} is not one of this release"
            raise DamagedStudy(folder, problem, _other_release(folder)) from err
        raise DamagedStudy(folder, f"its {STUDY} is damaged", _write_anew(folder)) from err


@contextmanager
def naming_record(folder: Path) -> Iterator[None]:
    """While a study's record is read."""
    try:
        yield
    except sqlite3.Error as err:
        state = shlex.quote(str(folder.parent.parent))
        raise DamagedStudy(
            folder,
            f"its {RECORD} gives no answer ({err})",
            f"types `fedcxr coordinator doctor --state {state}`, which says whether it has to come from a backup",
        ) from err
    except OSError as err:
        raise _unreadable(folder, err) from err
    except TypeError as err:  # rows with other columns
        problem = f"its {RECORD} is not one of this release"
        raise DamagedStudy(folder, problem, _other_release(folder)) from err


def _unreadable(folder: Path, err: OSError) -> DamagedStudy:
    return DamagedStudy(
        folder,
        f"a file of it cannot be opened ({err.strerror})",
        f"types `ls -l {shlex.quote(str(folder))}` and gives its files to the coordinator's user",
    )


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _write_anew(folder: Path) -> str:
    state = shlex.quote(str(folder.parent.parent))
    return (
        f"types `fedcxr coordinator run STUDY.yaml --state {state}` with the file that the study was made from, which "
        "writes it anew, keeps every finished round and goes on"
    )


def _other_release(folder: Path) -> str:
    return (
        "goes back to the release that made it (`fedcxr --version` tells which one this is), or, if nobody needs it "
        f"any more, types `mv {shlex.quote(str(folder))} ELSEWHERE`"
    )

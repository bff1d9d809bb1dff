"""What is wanted of a study, and watching it: the conductor in the coordinator's process does the rest."""

import time
from collections.abc import Callable
from pathlib import Path

from federation.config import StudyConfig, load_study, study_digest
from federation.exit_codes import ExitCode
from server.store import StudyStore, study_folder
from server.survey import DamagedStudy, answering, survey

POLL_SECONDS = 1.0
STOP_SECONDS = 90.0
"""Time that the process of a study that is wanted no more gets to end."""
BY_A_PERSON = (
    "study {name} was stopped by a person: type `fedcxr coordinator run` to take it up again"
)


class StudyStopped(RuntimeError):
    """The study waits for a person; every finished round is kept."""

    exit_code = ExitCode.WAITS_FOR_A_PERSON


class StillRunning(RuntimeError):
    """A study's process did not end in time."""

    exit_code = ExitCode.NOT_READY

    def __init__(self, name: str) -> None:
        super().__init__(
            f"study {name} is wanted no more, but its process has not ended within {STOP_SECONDS:.0f} s: look again "
            "with `fedcxr coordinator status`"
        )


class UnknownStudy(ValueError):
    """No study, or more than one, is meant."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(
            f"{name!r} does not name one study of this coordinator: give its file, or one of "
            f"{', '.join(known) or 'none, since it has no study yet'}"
        )


def run_to_end(
    state_path: Path, study: StudyConfig, *, on_change: Callable[[StudyStore], None]
) -> StudyStore:
    """Have a study run until it is finished, and watch; while the coordinator is down, wait.

    Calls ``on_change`` about once a second. Whoever ends the watching does not end the study.

    Raises:
        StudyStopped: if the study waits for a person.
    """
    store = StudyStore.create(state_path, study)
    want(store)
    while not store.fact("finished"):
        on_change(store)
        _raise_if_stopped(store)
        time.sleep(POLL_SECONDS)
    on_change(store)
    return store


def want(store: StudyStore) -> None:
    """Have the conductor run a study to its end, also one that stopped."""
    for name in ("stopped", "stopped_for", "waiting", "fruitless"):
        store.set_fact(name, "")
    store.set_fact("wanted", "yes")


def withdraw(store: StudyStore) -> bool:
    """Have the conductor end a study's run; what is done is kept. Returns whether its process has ended."""
    store.set_fact("wanted", "no")
    deadline = time.monotonic() + STOP_SECONDS
    while store.is_running() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 4)
    return not store.is_running()


def is_waiting_for_room(store: StudyStore) -> bool:
    """Whether a study stopped because the disk was full; it goes on by itself."""
    return bool(store.fact("stopped")) and store.fact("stopped_for") == "room"


def study_named(state_path: Path, name: str) -> StudyStore:
    """The study that a person means: by its file, its name, or its folder's name if several share a name.

    Raises:
        UnknownStudy: if there is none, or more than one.
        ConfigError: if it is a file that is no study.
        DamagedStudy: if it is meant, and cannot be read.
    """
    stores, damaged = survey(state_path, answering)
    found: list[StudyStore | DamagedStudy]
    if name.endswith((".yaml", ".yml")):
        plan = load_study(Path(name))
        folder = study_folder(state_path, study_digest(plan), plan.name)
        found = [each for each in stores if each.study == plan]
        found += [each for each in damaged if each.folder == folder]
    else:
        found = [each for each in stores if name in _names_of(each.folder)]
        found += [each for each in damaged if name in _names_of(each.folder)]
    if len(found) != 1:
        folders = [*(each.folder for each in stores), *(each.folder for each in damaged)]
        raise UnknownStudy(name, sorted(folder.name for folder in folders))
    (one,) = found
    if isinstance(one, DamagedStudy):
        raise one
    return one


def _names_of(folder: Path) -> set[str]:
    """A study's folder is called by its name and the beginning of its digest."""
    return {folder.name, folder.name.rpartition("-")[0]}


def _raise_if_stopped(store: StudyStore) -> None:
    if store.fact("wanted") == "no":
        raise StudyStopped(BY_A_PERSON.format(name=store.study.name))
    if store.fact("stopped") and not is_waiting_for_room(store):
        raise StudyStopped(store.fact("stopped"))

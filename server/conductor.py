"""The conductor: has every wanted study run until it is finished, whatever dies meanwhile.

A Flower run cannot be resumed, so a run that died is followed by a new one, which continues from the last committed
round. What is wanted and how often runs died in vain are facts in each study's store, so that a coordinator that was
killed and started again goes on by itself. Several studies run side by side, each in a process of its own: a study
that waits for hospitals must not hold up another.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from server.errand import Messenger, Outcome
from server.room import SPARE_BYTES, free_bytes
from server.store import StudyStore
from server.survey import DamagedStudy, open_study, study_folders

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
START_SECONDS = 60.0
"""Time a submitted run gets until its process holds the study."""
STOP_SECONDS = 20.0
"""Pause between two errands to end the run of a study that is wanted no more."""
RETRY_SECONDS = 5.0
"""Pause after an errand that the SuperLink refused."""
ROOM_SECONDS = 30.0
"""Pause before a study that had no room left is tried again, if there is some."""
FIRST_PAUSE_SECONDS = 1.0
PAUSE_FACTOR = 4
MAX_FRUITLESS_RUNS = 5
"""Runs in a row that may die without committing a round."""


@dataclass(kw_only=True, slots=True)
class _Watched:
    """What this process knows of a study beside what is durable."""

    store: StudyStore
    submitted: float | None = None
    """When this process submitted the run that is awaited or alive; None if there is none."""
    began: str = ""
    """The fact of that name when the run was submitted; the run's process changes it."""
    retry_at: float = float("-inf")
    """When the next errand about this study may be sent."""
    paused_until: float = float("-inf")
    """When the next run may follow one that died in vain."""
    room_at: float = float("-inf")
    """When the room of a study that had none may be measured again."""
    complaint: str = ""
    """What stood in the way of the last look, so that it is logged once."""


@dataclass(kw_only=True, slots=True)
class Conductor:
    """Tends every study of one coordinator; whoever owns it calls `tend` a few times a second."""

    state: Path
    errands: Messenger
    now: Callable[[], float] = time.monotonic
    _studies: dict[Path, _Watched] = field(default_factory=dict)
    _settled: set[Path] = field(default_factory=set)
    _damaged: dict[Path, str] = field(default_factory=dict)
    """What was said of studies that cannot be read, so that it is logged once; somebody may mend them any time."""
    _next_look: float = float("-inf")

    def tend(self) -> None:
        """Look at every study, at most once a second; never waits for Flower."""
        if self.now() < self._next_look:
            return
        self._next_look = self.now() + LOOK_SECONDS
        for folder in study_folders(self.state):
            if folder not in self._settled:
                self._look_safely(folder)

    def _look_safely(self, folder: Path) -> None:
        """A study that cannot be read or written, such as on a full disk, must not end the coordinator."""
        try:
            if folder not in self._studies:
                self._studies[folder] = _Watched(store=open_study(folder))
        except DamagedStudy as err:
            if self._damaged.get(folder) != str(err):
                logger.warning("%s", err)
            self._damaged[folder] = str(err)
            return
        study = self._studies[folder]
        with _patience(study):
            self._look(study)
            study.complaint = ""

    def _look(self, study: _Watched) -> None:
        store = study.store
        is_wanted = store.fact("wanted") == "yes"
        if store.is_running():
            if store.fact("wanted") == "no":
                self._end_run(study)
        elif store.fact("finished"):
            self._settled.add(store.folder)
        elif study.submitted is not None and is_wanted and not self._has_ended(study):
            return
        else:
            self._close_run(study)
            if is_wanted and self._may_run(study):
                self._submit(study)

    def _has_ended(self, study: _Watched) -> bool:
        """Whether the run without a process had one, or has had its time to get one."""
        had_process = study.store.fact("began") != study.began
        return had_process or self.now() - (study.submitted or 0.0) > START_SECONDS

    def _close_run(self, study: _Watched) -> None:
        """Count a run of this process that is over; one that died with the coordinator is not the study's fault."""
        if study.submitted is None:
            return
        study.submitted, study.retry_at = None, self.now()
        store = study.store
        if len(store.rounds()) > int(store.fact("run_rounds") or 0):
            store.set_fact("fruitless", "0")
        elif store.fact("wanted") == "yes" and not store.fact("stopped") and _has_room(store):
            self._count_fruitless(study)

    def _count_fruitless(self, study: _Watched) -> None:
        store = study.store
        number = int(store.fact("fruitless") or 0) + 1
        store.set_fact("fruitless", str(number))
        if number >= MAX_FRUITLESS_RUNS:
            store.set_fact(
                "stopped",
                f"{number} runs of study {store.study.name} ended without a round: read logs/study.log in the "
                f"coordinator's state folder, then type `fedcxr coordinator run` again",
            )
            return
        pause = FIRST_PAUSE_SECONDS * PAUSE_FACTOR ** (number - 1)
        study.paused_until = self.now() + pause
        begins = datetime.fromtimestamp(time.time() + pause, UTC)
        _explain(
            store,
            f"run {store.fact('run')} died without a round ({number} of {MAX_FRUITLESS_RUNS} in a row); the next one "
            f"begins at {begins:%H:%M:%S} UTC",
        )

    def _may_run(self, study: _Watched) -> bool:
        store = study.store
        if store.fact("stopped") and not self._has_room_again(study):
            return False
        if not _has_room(store):
            _explain(store, f"{store.folder} has next to no free room: somebody has to free some")
            return False
        is_pausing = self.now() < study.paused_until and store.fact("fruitless") not in {"", "0"}
        return not is_pausing and self.now() >= study.retry_at and self.errands.is_free()

    def _has_room_again(self, study: _Watched) -> bool:
        """Whether a study that stopped for want of room has some now; then it is stopped no more."""
        store = study.store
        if store.fact("stopped_for") != "room" or self.now() < study.room_at:
            return False
        study.room_at = self.now() + ROOM_SECONDS
        if free_bytes(store.folder) < int(store.fact("room_needed") or 0):
            return False
        store.set_fact("stopped", "")
        store.set_fact("stopped_for", "")
        return True

    def _submit(self, study: _Watched) -> None:
        store = study.store
        store.set_fact("run_rounds", str(len(store.rounds())))
        study.began, study.submitted = store.fact("began"), self.now()

        def done(outcome: Outcome) -> None:
            if outcome.is_done:
                logger.info("study %s: run %s submitted", store.study.name, outcome.text)
            else:
                study.submitted = None
                study.retry_at = self.now() + RETRY_SECONDS
            with _patience(study):
                _explain(store, "" if outcome.is_done else outcome.text)

        self.errands.send(("start", str(store.folder)), done)

    def _end_run(self, study: _Watched) -> None:
        if self.now() < study.retry_at or not self.errands.is_free():
            return
        study.retry_at = self.now() + STOP_SECONDS
        self.errands.send(("stop", study.store.fact("run")), lambda _: None)


@contextlib.contextmanager
def _patience(study: _Watched) -> Iterator[None]:
    """What cannot be read or written now will be later; it ends nothing but this attempt."""
    try:
        yield
    except (OSError, sqlite3.Error) as err:
        if study.complaint != str(err):
            logger.warning("study %s waits: %s", study.store.folder.name, err)
        study.complaint = str(err)


def _has_room(store: StudyStore) -> bool:
    """Whether a run could so much as begin; without room all of them die, and none of them is to blame."""
    return free_bytes(store.folder) >= SPARE_BYTES


def _explain(store: StudyStore, reason: str) -> None:
    """Keep why nothing runs at the moment, for whoever asks."""
    if store.fact("waiting") != reason:
        store.set_fact("waiting", reason)

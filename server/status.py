"""What a study looks like from outside, from durable facts alone."""

import statistics
from dataclasses import dataclass

from federation.files import is_locked
from server.endpoint import LOCK_NAME
from server.records import Part, RoundRecord
from server.store import StudyStore
from server.watch import is_waiting_for_room

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyStatus:
    """One look at a study."""

    name: str
    state: str
    """``running`` (a live process holds it), ``waiting`` (it will run by itself), ``stopped`` (waits for a person),
    ``withdrawn`` (by ``coordinator stop``), ``finished``, or ``idle`` (nobody asked for it)."""
    reason: str
    """Why it does not run; empty if it runs, is finished, or there is nothing to say."""
    stage: str
    """Kind of the stage that runs or comes next."""
    num_rounds: int
    rounds: tuple[RoundRecord, ...]
    """Committed rounds."""
    parts: tuple[Part, ...]
    """Every hospital's part in every round so far."""

    @property
    def committed(self) -> int:
        """Number of the last committed round."""
        return self.rounds[-1].number if self.rounds else 0

    @property
    def current(self) -> int:
        """Number of the round that runs or comes next; the last one when finished."""
        return min(self.committed + 1, self.num_rounds)

    @property
    def latest_parts(self) -> tuple[Part, ...]:
        """Each hospital's part in the current round, or in the last committed one."""
        now = tuple(part for part in self.parts if part.number == self.current)
        return now or tuple(part for part in self.parts if part.number == self.committed)

    @property
    def seconds_left(self) -> float | None:
        """Forecast from the last five rounds; None before the first."""
        recent = [record.seconds for record in self.rounds[-5:]]
        if not recent:
            return None
        return statistics.median(recent) * (self.num_rounds - self.committed)

    def traffic(self, *, number: int | None = None) -> tuple[float, float]:
        """Megabytes of tensors sent to and received from hospitals, in one round or in all."""
        chosen = [part for part in self.parts if number in (None, part.number)]
        down = sum(part.bytes_down for part in chosen) / MEGABYTE
        return down, sum(part.bytes_up for part in chosen) / MEGABYTE


def study_status(store: StudyStore) -> StudyStatus:
    """Look at a study once."""
    rounds = tuple(store.rounds())
    state, reason = _state(store)
    num_rounds = store.study.num_rounds
    upcoming = min((rounds[-1].number if rounds else 0) + 1, num_rounds)
    return StudyStatus(
        name=store.study.name,
        state=state,
        reason=reason,
        stage=store.study.stage_of(upcoming)[1].kind,
        num_rounds=num_rounds,
        rounds=rounds,
        parts=tuple(store.parts()),
    )


def _state(store: StudyStore) -> tuple[str, str]:
    """The state, and why."""
    if store.fact("finished"):
        return "finished", ""
    if store.is_running():
        return "running", ""
    wanted, stopped = store.fact("wanted"), store.fact("stopped")
    if wanted == "no":
        return "withdrawn", "type `fedcxr coordinator run` to take it up again"
    if stopped and not (wanted and is_waiting_for_room(store)):
        return "stopped", stopped
    return ("waiting", stopped or _why_waiting(store)) if wanted else ("idle", "")


def _why_waiting(store: StudyStore) -> str:
    state_path = store.folder.parent.parent
    if not is_locked(state_path / LOCK_NAME):
        return "the coordinator is not running; start it with `fedcxr coordinator up`"
    return store.fact("waiting") or "its process is being started"

"""What a study looks like from outside, from durable facts alone."""

import statistics
from dataclasses import dataclass

from server.store import Part, RoundRecord, StudyStore

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyStatus:
    """One look at a study."""

    name: str
    state: str
    """``running``, ``finished``, ``stopped`` (waits for a person) or ``idle`` (no process runs it)."""
    reason: str
    """Why it stopped; empty otherwise."""
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
    num_rounds = store.study.num_rounds
    upcoming = min((rounds[-1].number if rounds else 0) + 1, num_rounds)
    return StudyStatus(
        name=store.study.name,
        state=_state(store),
        reason=store.fact("stopped"),
        stage=store.study.stage_of(upcoming)[1].kind,
        num_rounds=num_rounds,
        rounds=rounds,
        parts=tuple(store.parts()),
    )


def _state(store: StudyStore) -> str:
    if store.fact("finished"):
        return "finished"
    if store.is_running():
        return "running"
    return "stopped" if store.fact("stopped") else "idle"

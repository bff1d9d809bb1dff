"""The coordinator's numbers for Prometheus: studies, rounds, hospitals, the public port, certificates, room."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import Metric

from federation.files import is_locked
from federation.metrics import certificate_metrics, counter, gauge, machine_metrics, number
from server.endpoint import LOCK_NAME
from server.enrolment.members import read_seen
from server.enrolment.opening import opening_path
from server.gateway.counters import read_access
from server.status import StudyStatus, study_status
from server.survey import survey

STATES = ("running", "waiting", "stopped", "withdrawn", "finished", "idle")
RECENT_SECONDS = 120.0
"""A hospital that called within this time is connected: its node gives a sign of life twice a minute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordinatorMetrics:
    """One coordinator, read from its state folder."""

    state_path: Path
    pid: int | None = None
    """The service, if its memory is to be told."""

    def collect(self) -> Iterator[Metric]:
        """Look once."""
        up = is_locked(self.state_path / LOCK_NAME)
        yield number("coordinator_up", "1 while the coordinator runs.", float(up))
        yield from machine_metrics(self.state_path, pid=self.pid)
        tls = self.state_path / "tls"
        own = {"authority": tls / "ca.crt", "server": tls / "server.crt"}
        members = (opening_path(self.state_path).parent / "certificates").glob("*.crt")
        yield certificate_metrics(own | {f"hospital {path.stem}": path for path in members})
        studies, damaged = survey(self.state_path, study_status)
        yield from _studies(studies)
        yield gauge(
            "study_damaged",
            "1 for a study that cannot be read and is in no other number; `coordinator status` says why.",
            {(each.folder.name,): 1.0 for each in damaged},
            ("study",),
        )
        yield from _access(self.state_path)
        yield from _hospitals(self.state_path)


def _studies(studies: Sequence[StudyStatus]) -> Iterator[Metric]:
    yield gauge(
        "study_state",
        "1 for the state that a study is in.",
        {(s.name, state): float(s.state == state) for s in studies for state in STATES},
        ("study", "state"),
    )
    yield _each("study_round", "Last committed round.", {s.name: s.committed for s in studies})
    yield _each(
        "study_rounds_planned",
        "Rounds that it has in all.",
        {s.name: s.num_rounds for s in studies},
    )
    yield _each(
        "study_seconds_left",
        "Forecast of the time to its end.",
        {s.name: s.seconds_left for s in studies},
    )
    last = {s.name: s.rounds[-1] for s in studies if s.rounds}
    yield _each("round_loss", "Loss of the last round.", {n: r.loss for n, r in last.items()})
    yield _each(
        "round_held_out_loss",
        "Held-out loss of the last round.",
        {n: r.held_out_loss for n, r in last.items()},
    )
    yield _each(
        "round_seconds", "Length of the last round.", {n: r.seconds for n, r in last.items()}
    )
    yield _each(
        "round_hospitals", "Hospitals in the last round.", {n: r.num_sites for n, r in last.items()}
    )
    yield _each(
        "round_committed_timestamp_seconds",
        "When the last round was committed.",
        {n: r.committed for n, r in last.items()},
    )
    yield from _parts(studies)


def _parts(studies: Sequence[StudyStatus]) -> Iterator[Metric]:
    counts: Counter[tuple[str, ...]] = Counter()
    seen: dict[tuple[str, ...], float] = {}
    for study in studies:
        for part in study.parts:
            counts[study.name, part.state, part.code] += 1
            key = (study.name, part.site)
            seen[key] = max(seen.get(key, 0.0), part.time)
    yield gauge(
        "study_parts",
        "Hospitals' parts in all rounds on record, by state; refused ones by the reason's code.",
        counts,
        ("study", "state", "code"),
    )
    yield gauge(
        "study_site_timestamp_seconds",
        "When a hospital's part in a study last changed.",
        seen,
        ("study", "site"),
    )
    moved = {(s.name, way): s.traffic()[way == "up"] for s in studies for way in ("down", "up")}
    yield counter(
        "study_tensor_bytes",
        "Tensors sent to hospitals (down) and received from them (up).",
        {key: megabytes * 1e6 for key, megabytes in moved.items()},
        ("study", "direction"),
    )


def _access(state_path: Path) -> Iterator[Metric]:
    access = read_access(state_path)
    if access is None:
        return
    yield number("port_connections", "Open at the public port.", access.num_connections)
    yield counter(
        "port_answers",
        "Calls since the gateway started, by what became of them.",
        {(outcome,): float(count) for outcome, count in access.counts.items()},
        ("outcome",),
    )


def _hospitals(state_path: Path) -> Iterator[Metric]:
    seen = read_seen(state_path)
    recent = sum(time.time() - when < RECENT_SECONDS for when in seen.values())
    yield number("hospitals_connected", "Hospitals that called in the last two minutes.", recent)
    what = "When a hospital last called."
    calls: dict[tuple[str, ...], float] = {(site,): when for site, when in seen.items()}
    yield gauge("hospital_timestamp_seconds", what, calls, ("site",))


def _each(name: str, what: str, values: dict[str, float | int | None]) -> Metric:
    """A number per study; a study that has none yet is left out."""
    known: dict[tuple[str, ...], float] = {
        (study,): float(value) for study, value in values.items() if value is not None
    }
    return gauge(name, what, known, ("study",))

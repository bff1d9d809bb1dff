"""What the coordinator's pages say, from its durable record and from who is connected now."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from federation.config import StudyConfig, study_digest
from federation.console.chart import Chart, Line, line_chart
from server.console.connections import Connected
from server.console.spending import Spending, spending
from server.enrolment.members_table import Row
from server.export import adapter_path, model_path
from server.progress import WAITS
from server.records import Part, RoundRecord
from server.status import StudyStatus, study_status
from server.store import StudyStore

FEW_DAYS = 20
"""A hospital renews its certificate a month before its end: with fewer days left, it could not."""
SAMPLES = "samples.png"
"""A sheet of generated radiographs in the study's folder, if somebody had one drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Badge:
    """A state in a word, and how it looks."""

    kind: str
    text: str


STATES = {
    "stopped": Badge(kind="bad", text="stopped: needs a person"),
    "running": Badge(kind="busy", text="running"),
    "waiting": Badge(kind="warn", text="waiting"),
    "withdrawn": Badge(kind="", text="stopped by a person"),
    "finished": Badge(kind="good", text="finished"),
    "idle": Badge(kind="", text="never asked for"),
}
PARTS = {
    "asked": Badge(kind="busy", text="training"),
    "admitted": Badge(kind="good", text="update counts"),
    "refused": Badge(kind="bad", text="does not count"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteView:
    """One hospital in one study."""

    name: str
    connection: Badge
    since: float | None
    """When its node came or went, in seconds since 1970; None: never, or nobody knows."""
    standing: Badge
    part: Part | None
    """Its latest."""
    num_counted: int
    """Rounds in which its update counted."""
    epsilon: float | None
    """What the study has cost its patients, at most; None where the study promises nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyView:
    """One study."""

    key: str
    """Names it in the console's addresses."""
    status: StudyStatus
    study: StudyConfig
    digest: str
    state: Badge
    sites: tuple[SiteView, ...]
    refused: tuple[Part, ...]
    """Newest first."""
    rounds: tuple[RoundRecord, ...]
    """Newest first."""
    chart: Chart | None
    spending: Spending | None
    ends: float | None
    """Forecast, in seconds since 1970, not before now; None where nobody can tell."""
    samples: bool
    model: Path | None
    """Folder of the finished model."""
    folder: Path

    @property
    def share(self) -> float:
        """Of the rounds that are done, 0 to 1."""
        return self.status.committed / self.status.num_rounds

    @property
    def measured(self) -> Mapping[int, Sequence[Part]]:
        """Parts with a loss by round, newest round first; for people who cannot see the chart."""
        rows: dict[int, list[Part]] = {}
        for part in _counted(self.status):
            rows.setdefault(part.number, []).append(part)
        return {number: rows[number] for number in sorted(rows, reverse=True)}

    @property
    def urgency(self) -> tuple[int, str]:
        """Sorts what needs a person, and then what moves, before everything else."""
        return list(STATES).index(self.status.state), self.status.name


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteRow:
    """One hospital of the roster over all studies."""

    name: str
    connection: Badge
    since: float | None
    """When its node came or went, in seconds since 1970; None: never, or nobody knows."""
    member: Badge
    """Whether it is on the roster, with the days its certificate lasts if it has one."""
    last_seen: float | None
    """When its node last called, in seconds since 1970; None: never."""
    last: Part | None
    """Its latest part in any study."""
    study: str
    """In which; empty for none."""


def study_view(store: StudyStore, connected: Connected | None) -> StudyView:
    """Everything about a study."""
    status = study_status(store)
    spent = spending(store.study, status.parts)
    refused = [part for part in reversed(status.parts) if part.state == "refused"]
    model = adapter_path(store) if adapter_path(store).exists() else model_path(store)
    return StudyView(
        key=store.folder.name,
        status=status,
        study=store.study,
        digest=study_digest(store.study),
        state=STATES[status.state],
        sites=tuple(_sites(status, connected, spent)),
        refused=tuple(refused),
        rounds=tuple(reversed(status.rounds)),
        chart=_chart(status),
        spending=spent,
        ends=forecast(status, time.time()),
        samples=samples_path(store).exists(),
        model=model if model.exists() else None,
        folder=store.folder,
    )


def forecast(status: StudyStatus, now: float) -> float | None:
    """When a study that runs will end if its rounds keep their pace; what the current one has taken is behind it."""
    if status.state != "running" or status.seconds_left is None:
        return None
    num_rounds = status.num_rounds - status.committed
    later = status.seconds_left * (num_rounds - 1) / max(1, num_rounds)
    return max(status.rounds[-1].committed + status.seconds_left, now + later)


def site_rows(
    stores: Sequence[StudyStore], connected: Connected | None, members: Sequence[Row]
) -> list[SiteRow]:
    """Every hospital that is on the roster or ever took part, in order of name."""
    latest: dict[str, tuple[Part, str]] = {}
    for store in stores:
        for part in store.parts():
            if part.site not in latest or part.time >= latest[part.site][0].time:
                latest[part.site] = (part, store.study.name)
    known = {row.site: row for row in members}
    return [
        SiteRow(
            name=name,
            connection=connection_of(name, connected),
            since=since_of(name, connected),
            member=member_badge(known.get(name)),
            last_seen=known[name].last_seen if name in known else None,
            last=latest[name][0] if name in latest else None,
            study=latest[name][1] if name in latest else "",
        )
        for name in sorted({*latest, *known, *(connected or {})})
    ]


def member_badge(row: Row | None) -> Badge:
    """Whether a hospital may take part, and for how long its certificate says so."""
    if row is None:
        return Badge(kind="bad", text="not on the roster")
    days = row.certificate_days
    if row.state != "member":
        return Badge(kind="warn" if row.state == "invited" else "bad", text=row.state)
    if days is None:
        return Badge(kind="", text="member, no certificate")
    if days < 0:
        return Badge(kind="bad", text="certificate expired")
    kind = "warn" if days < FEW_DAYS else "good"
    return Badge(kind=kind, text=f"member, certificate for {days} days")


def connection_of(name: str, connected: Connected | None) -> Badge:
    """Whether a hospital's node is connected now, as far as anybody knows."""
    if connected is None:
        return Badge(kind="", text="not known")
    if name not in connected:
        return Badge(kind="bad", text="not on the roster")
    if connected[name].is_open:
        return Badge(kind="good", text="connected")
    return Badge(kind="warn", text="not connected")


def since_of(name: str, connected: Connected | None) -> float | None:
    """Since when that is so."""
    return connected[name].since if connected and name in connected else None


def standing_of(part: Part | None) -> Badge:
    """Where a hospital stands in its latest round."""
    if part is None:
        return Badge(kind="", text="never asked")
    if part.state == "waiting":
        waits = {str(code): text for code, text in WAITS.items()}
        return Badge(kind="warn", text=waits.get(part.code, "waits"))
    return PARTS[part.state]


def samples_path(store: StudyStore) -> Path:
    """Where a study's sheet of samples lies."""
    return store.folder / SAMPLES


def _sites(
    status: StudyStatus, connected: Connected | None, spent: Spending | None
) -> Iterator[SiteView]:
    latest = {part.site: part for part in status.parts}
    for name in sorted({*latest, *(connected or {})}):
        part = latest.get(name)
        yield SiteView(
            name=name,
            connection=connection_of(name, connected),
            since=since_of(name, connected),
            standing=standing_of(part),
            part=part,
            num_counted=sum(p.site == name for p in _counted(status)),
            epsilon=None if spent is None else spent.by_site.get(name, 0.0),
        )


def _chart(status: StudyStatus) -> Chart | None:
    """Every hospital's training loss faintly, and the means of the rounds on top."""
    admitted = _counted(status)
    names = sorted({part.site for part in admitted})
    ones = [
        Line(name=name, kind="one", points=[(p.number, p.loss) for p in admitted if p.site == name])
        for name in names
    ]
    means = (
        Line(name="training loss", kind="mean", points=[(r.number, r.loss) for r in status.rounds]),
        Line(
            name="held-out loss",
            kind="held-out",
            points=[(r.number, r.held_out_loss) for r in status.rounds],
        ),
    )
    return line_chart([*ones, *means], num_rounds=status.committed)


def _counted(status: StudyStatus) -> list[Part]:
    """The updates that made the committed rounds."""
    done = status.committed
    return [part for part in status.parts if part.state == "admitted" and part.number <= done]

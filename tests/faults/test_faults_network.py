"""A hospital behind a bad line, in a real federation: rounds take longer, and nothing else happens to them."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.tensors import num_values
from tests.faults.federation_under_test import (
    Federation,
    digests_of_honest,
    federation,
    names_of,
    study_of,
    wait_until,
)
from tests.faults.line import FaultyLine

CUTS = os.environ.get("FEDCXR_CUTS")
"""Breaks of the line, a round each: when it breaks, and for how many seconds; `make faults` gives many."""

pytestmark = [
    pytest.mark.federation,
    pytest.mark.slow,
    pytest.mark.skipif(CUTS is None, reason="`make faults` runs it"),
]
MODEL = os.environ.get("FEDCXR_CUT_MODEL", "tiny")
"""`make faults` takes one of 92 MB each way, besides."""
NUM_CUTS = 10
SLOW_LINES = {"tiny": 400e3, "small": 500e3}
"""Bytes a second in both directions together; 4 Mbit/s for the larger model."""
MAX_RECOVERY_SECONDS = 30.0
MAX_REPEATED = {"tiny": 0.1, "small": 0.05}
"""Of what travels without cuts, both directions together. A cut costs two TLS records, of 16 KiB each, and a handshake:
for ten of them that is more than 5 % of the little that a small model is."""
CUT_AT = 0.4
"""Of the shards in one direction: when the line breaks that is cut amid them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """What passed the line in some time."""

    bytes_up: int
    bytes_down: int
    seconds: float

    @property
    def num_bytes(self) -> int:
        """In both directions."""
        return self.bytes_up + self.bytes_down

    def repeated(self, reference: "Counted") -> float:
        """Share of bytes beyond those of a reference, signs of life of the longer time among them."""
        return self.num_bytes / reference.num_bytes - 1.0


@dataclass(kw_only=True)
class Watched:
    """A study of two hospitals, one of which is behind a line."""

    running: Federation
    name: str

    @property
    def line(self) -> FaultyLine:
        """The bad one."""
        return self.running.lines[self.name]

    @property
    def shard_bytes(self) -> int:
        """Of the model, which is what travels in each direction in every round; known after the first."""
        state = self.running.store.load_state()
        assert state is not None
        return 4 * num_values(state.weights.shapes)

    @property
    def position(self) -> tuple[int, int, float]:
        """What has passed so far, and when that was."""
        return self.line.bytes_up, self.line.bytes_down, time.monotonic()

    def since(self, before: tuple[int, int, float]) -> Counted:
        """What has passed since then."""
        up, down, now = (b - a for a, b in zip(before, self.position, strict=True))
        return Counted(bytes_up=int(up), bytes_down=int(down), seconds=now)

    def until_round(self, number: int, *, seconds: float) -> None:
        """Wait for a commit."""
        wait_until(lambda: len(self.running.store.rounds()) >= number, seconds=seconds)

    def cut(self, phase: str, seconds: float) -> float:
        """Break the line in a phase of the next round; seconds from its mending until shards moved again."""
        before, shard_bytes = self.position, self.shard_bytes
        share = CUT_AT * shard_bytes
        if phase == "fetching":
            wait_until(lambda: self.since(before).bytes_down > share, seconds=120, pause=0.01)
        if phase == "leaving":
            wait_until(lambda: self.since(before).bytes_up > share, seconds=120, pause=0.01)
        self.line.cut()
        time.sleep(seconds)
        self.line.heal()
        mended = self.position
        return wait_until(
            lambda: self.since(mended).num_bytes > shard_bytes / 10, seconds=300, pause=0.05
        )


@contextmanager
def watched(tmp_path: Path, *, num_rounds: int, size: str) -> Iterator[Watched]:
    """The federation, and its study's digests afterwards held against those of an undisturbed one."""
    study = study_of(
        "line",
        num_sites=2,
        min_sites=2,
        num_rounds=num_rounds,
        deadline=3600.0,
        size=size,
        shard_values=150_000 if size == "tiny" else 2**20,
    )
    names = names_of(study)
    with federation(tmp_path / "out", study, behind_lines=names[1:]) as running:
        yield Watched(running=running, name=names[1])
    store = running.store
    assert all((part.state, part.attempt) == ("admitted", 1) for part in store.parts())
    honest = digests_of_honest(study, running.layout, names, tmp_path / "alone")
    assert [record.digest for record in store.rounds()] == honest


Row = tuple[str, float, float, float, float]
"""What happened, for how many seconds, seconds until shards moved again, seconds of the round, bytes that travelled
again as a share."""


def table(rows: Sequence[Row], reference: Counted) -> str:
    """What was measured, for whoever runs it."""
    lines = [f"\nundisturbed round: {reference.bytes_down} bytes down, {reference.bytes_up} up"]
    for what, seconds, recovery, whole, repeated in rows:
        lines.append(
            f"{what:10} {seconds:5.0f} s: moves again after {recovery:5.1f} s, round {whole:6.1f} s, {repeated:7.2%} again"
        )
    return "\n".join(lines) + "\n"


def test_a_line_that_breaks_costs_time_and_next_to_no_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = [
        (phase, float(seconds))
        for phase, seconds in (cut.split(":") for cut in (CUTS or "").split(",") if cut)
    ]
    report: list[Row] = []
    with watched(tmp_path, num_rounds=2 + len(cuts), size=MODEL) as watching:
        start = watching.position
        thread = watching.running.run()
        watching.until_round(1, seconds=600)
        reference = watching.since(start)
        watching.line.limit(SLOW_LINES[MODEL])

        for number, (phase, seconds) in enumerate(cuts, start=2):
            start = watching.position
            recovery = watching.cut(phase, seconds)
            watching.until_round(number, seconds=1800)
            counted = watching.since(start)
            report.append((phase, seconds, recovery, counted.seconds, counted.repeated(reference)))

        start = watching.position
        watching.line.cut_after(2 * watching.shard_bytes // (NUM_CUTS + 1), times=NUM_CUTS)
        thread.join(1800)
        counted = watching.since(start)
        report.append((f"{NUM_CUTS} cuts", 0.0, 0.0, counted.seconds, counted.repeated(reference)))

    with capsys.disabled():
        sys.stdout.write(table(report, reference))
    assert watching.line.cuts >= NUM_CUTS + len(cuts)
    assert max(recovery for _, _, recovery, *_ in report) <= MAX_RECOVERY_SECONDS
    assert max(repeated for *_, repeated in report) <= MAX_REPEATED[MODEL]

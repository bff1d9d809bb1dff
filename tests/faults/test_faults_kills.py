"""Killed anywhere, a study goes on by itself and ends with the bits of one that nobody disturbed.

The long form kills at every phase with many seeds and prints a table; a seed is one run that can be had again:

    FEDCXR_FAULT_SEEDS=10 pytest tests/faults/test_faults_kills.py
    FEDCXR_FAULT_SEEDS=10 pytest tests/faults/test_faults_kills.py -k "receiving and seed7"
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

import client.rounds
from server.store import StudyStore
from simulation.layout import Layout
from tests.faults.invariants import check_invariants, check_nothing_remains
from tests.faults.killing.strikes import Kill
from tests.faults.killing.untrained import TRAININGS_VARIABLE, train
from tests.faults.kills import (
    COORDINATOR,
    NAMES,
    History,
    Mortal,
    mortal_federation,
    write_hospital,
)
from tests.faults.phases import NUM_SHARDS, PHASES, case_of, study_of

pytestmark = [pytest.mark.federation, pytest.mark.slow]

SEEDS = range(int(os.environ.get("FEDCXR_FAULT_SEEDS", "0")))
Undisturbed = Callable[[str], Mapping[int, str]]


@dataclass
class Table:
    """What became of every kill."""

    rows: dict[str, list[History]] = field(default_factory=dict)
    failed: dict[str, list[int]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """One per phase."""
        yield f"{'killed':32}{'seeds':>6}{'went on':>9}{'rounds lost':>13}{'same bits':>11}{'s to go on: median, most':>28}"
        for phase in self.rows | self.failed:
            runs, failed = self.rows.get(phase, []), self.failed.get(phase, [])
            num, lost = len(runs) + len(failed), sum(run.num_lost for run in runs)
            seconds = sorted(run.seconds_to_go_on for run in runs) or [0.0]
            times = f"{seconds[len(seconds) // 2]:.1f}, {seconds[-1]:.1f}"
            wrong = f"  failed: seeds {failed}" if failed else ""
            yield f"{phase:32}{num:6d}{len(runs):9d}{lost:13d}{len(runs):11d}{times:>28}{wrong}"


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    federate_in_process: Callable[..., StudyStore],
) -> Iterator[Undisturbed]:
    """Digest of every round of a kind of study that ran in this process, without a network and without kills."""
    known: dict[str, dict[int, str]] = {}
    out = tmp_path_factory.mktemp("undisturbed")

    def digests(kind: str) -> dict[int, str]:
        if kind not in known:
            layout, study = Layout(out / kind), study_of("undisturbed", kind)
            for name in NAMES:
                write_hospital(layout, name, port=1, ca_path=out / "ca.crt")
            inside = replace(study, transport=replace(study.transport, inline_bytes=2**40))
            store = federate_in_process(inside, NAMES, layout, on_change=lambda _: None)
            known[kind] = {record.number: record.digest for record in store.rounds()}
        return known[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDCXR_TEST_KILLS", str(out))
        patch.setenv(TRAININGS_VARIABLE, str(out / "trainings"))
        patch.setattr(client.rounds, "train", partial(train, client.rounds))
        yield digests


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    """Is printed at the end."""
    table = Table()
    yield table
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    if capture is not None and table.rows | table.failed:
        with capture.global_and_fixture_disabled():
            sys.stdout.write("\n".join(["", *table.lines(), ""]))


@dataclass
class Federations:
    """One federation for one kill after the other; another one after a failure."""

    folder: Callable[[], Path]
    stack: ExitStack = field(default_factory=ExitStack)
    standing: Mortal | None = None

    def take(self, arguments: Sequence[str]) -> Mortal:
        """One that is up, whose coordinator was started with these words."""
        if self.standing is None or self.standing.arguments != arguments:
            self.end()
            fresh = mortal_federation(self.folder() / "out", arguments)
            self.standing = self.stack.enter_context(fresh)
        return self.standing

    def end(self) -> None:
        """Take it down; nothing of it is left."""
        ended, self.standing = self.standing, None
        self.stack.close()
        if ended is not None:
            check_nothing_remains(ended)


@pytest.fixture(scope="module")
def federations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federations]:
    """Where kills happen one after the other."""
    federations = Federations(partial(tmp_path_factory.mktemp, "killed"))
    yield federations
    federations.end()


@pytest.mark.skipif(not SEEDS, reason="FEDCXR_FAULT_SEEDS says how many")
@pytest.mark.parametrize("seed", SEEDS or [0], ids=lambda seed: f"seed{seed}")
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.replace(" ", "-"))
def test_a_study_goes_on_by_itself_whenever_one_side_is_killed(
    federations: Federations, phase: str, seed: int, undisturbed: Undisturbed, table: Table
) -> None:
    federation = federations.take(PHASES[phase].arguments)
    case = case_of(phase, seed, federation.side)
    try:
        store, history = federation.run(case.study, [case.kill])
        assert len(history.kills) == 1, "nobody was killed"
        check_invariants(federation, store, history, undisturbed(case.kind))
    except AssertionError:
        table.failed.setdefault(phase, []).append(seed)
        federations.end()
        raise
    table.rows.setdefault(phase, []).append(history)


@pytest.mark.skipif(not SEEDS, reason="`make faults` runs it")
def test_one_study_outlives_both_sides_and_a_commit_cut_short(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    with mortal_federation(tmp_path / "out") as federation:
        coordinator, hospital = federation.side(COORDINATOR), federation.side(NAMES[1])
        kills = [
            Kill(point="delivering", nth=NUM_SHARDS // 2, victim=hospital, by=hospital),
            Kill(point="received", nth=2, victim=coordinator),
            Kill(point="round-renamed", nth=2, victim=coordinator),
        ]
        study = study_of("thrice", "private", num_rounds=2)
        store, history = federation.run(study, kills)
        assert len(history.kills) == len(kills)
        digests = {number: undisturbed("private")[number] for number in (1, 2)}
        check_invariants(federation, store, history, digests)
    check_nothing_remains(federation)

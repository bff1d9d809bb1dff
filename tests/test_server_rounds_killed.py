"""A study that dies at any moment of its rounds, and goes on to the bits of one that was left alone."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from federation.config import StudyConfig, study_json
from federation.messages import Instruction
from federation.stages import FullStage, LoraStage
from server.sites import Answered, Event
from server.store import StudyStore
from tests.toys.hospitals import FULL, LORA, STAGES, bits, hospitals, new_run

StudyOf = Callable[..., StudyConfig]


class Killed(BaseException):
    """Stands for the death of the process."""


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES.keys())
def test_a_study_killed_in_every_round_ends_with_the_bits_of_an_undisturbed_one(
    study_of: StudyOf, memory_path: Path, stages: tuple[FullStage | LoraStage, ...]
) -> None:
    study = study_of(*stages)
    deaths: set[int] = set()

    def mortal(instruction: Instruction) -> Iterator[Event]:
        for event in hospitals()(instruction):
            yield event
            answered = isinstance(event, Answered) and event.site == "b"
            if answered and instruction.round_number not in deaths:
                deaths.add(instruction.round_number)
                raise Killed

    state = None
    while state is None:
        with suppress(Killed):
            state = new_run(memory_path / "killed", study, mortal)
    assert deaths == set(range(1, study.num_rounds + 1))
    assert bits(state) == bits(new_run(memory_path / "calm", study, hospitals()))


MORTAL = """
import itertools, os, shutil, signal, sys
from pathlib import Path

root, folder, study = sys.argv[1:]
sys.path[:0] = [root]
from federation.config import parse_study
from server import store as server_store
from server.rounds import run_study
from server.store import StudyStore
from simulation.in_process import InProcess
from tests.faults.mortal import dies_after, mortal
from tests.toys.hospitals import hospitals, start

def arm(instant):
    os.fsync, os.replace = mortal(os.fsync, instant), mortal(os.replace, instant)
    shutil.rmtree, Path.rename = mortal(shutil.rmtree, instant), mortal(Path.rename, instant)
    server_store.execute = mortal(server_store.execute, instant)

def live_once(number):
    open_round, commit = StudyStore.open_round, StudyStore.commit
    def mortal_open(self, round_number):
        if round_number == 3:
            arm(dies_after(number))
        return open_round(self, round_number)
    def last_commit(self, reached, parts, **facts):
        commit(self, reached, parts, **facts)
        if reached.number == 3:
            os._exit(0)
    StudyStore.open_round, StudyStore.commit = mortal_open, last_commit
    run_study(
        StudyStore.create(Path(folder, str(number)), parse_study(study)), InProcess(hospitals()), start
    )

for number in itertools.count():
    if not os.fork():
        live_once(number)
    if os.wait()[1] != signal.SIGKILL:
        break
"""


@pytest.mark.slow
def test_a_study_killed_anywhere_in_a_commit_ends_with_the_bits_of_an_undisturbed_one(
    study_of: StudyOf, memory_path: Path
) -> None:
    study = study_of(replace(FULL, num_rounds=2, ema_decay=0.5), replace(LORA, num_rounds=2))
    root = str(Path(__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", MORTAL, root, str(memory_path), study_json(study)],
        check=True,
        timeout=120,
    )
    calm = bits(new_run(memory_path / "calm", study, hospitals()))
    survivors = sorted(path for path in memory_path.iterdir() if path.name != "calm")
    reached = []
    for folder in survivors:
        reached.append(len(StudyStore.create(folder, study).rounds()))
        assert bits(new_run(folder, study, hospitals())) == calm
    assert len(survivors) > 10
    assert set(reached) == {2, 3}

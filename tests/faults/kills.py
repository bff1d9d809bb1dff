"""A real federation whose coordinator or hospitals are killed as a whole at chosen points, and started again.

Every program is the one of production (`killing` says what is changed in it). What a person does is done once, at the
beginning: the study is wanted. What died is started again the way it was, as systemd would; nothing else is typed.
"""

import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from federation.config import StudyConfig
from federation.files import write_file
from federation.processes import Program, Supervisor, flower_environment
from federation.strict_yaml import dump_yaml
from server.endpoint import CoordinatorNotRunning, read_endpoint
from server.records import RoundRecord
from server.status import study_status
from server.store import StudyStore
from server.survey import answering, survey
from server.watch import want
from simulation.approvals import approve_everywhere
from simulation.federate import hospital_program, wait_for_hospitals, write_profile
from simulation.layout import Layout
from tests.faults.killing.strikes import (
    KILLS_VARIABLE,
    SIDE_VARIABLE,
    Kill,
    processes_of,
    times_of_kills,
    write_plan,
)
from tests.faults.killing.untrained import TRAININGS_VARIABLE

KILLING = Path(__file__).parent / "killing"
IMAGE_SIZE = 16
COORDINATOR = "coordinator"
NAMES = ("site-01", "site-02")
LOOK_SECONDS = 0.1
START_SECONDS = 120.0
PATIENCE_SECONDS = 300.0
"""For a study with its kills; one takes some seconds on a machine of its own."""


@dataclass(kw_only=True)
class History:
    """What could be seen of a study from outside while it ran."""

    commits: list[RoundRecord] = field(default_factory=list)
    num_lost: int = 0
    """Rounds that were committed once and then were not, or had other bits."""
    heads: dict[str, list[int]] = field(default_factory=dict)
    """Hospital -> number of records in its ledger at every look."""
    kills: list[float] = field(default_factory=list)
    """When each kill happened, seconds since the epoch."""
    finished: float = 0.0

    def look(self, store: StudyStore) -> None:
        """See which rounds are committed."""
        now = store.rounds()
        self.num_lost += sum(record not in now for record in self.commits)
        self.commits = now

    @property
    def seconds_to_go_on(self) -> float:
        """Longest time from a kill to the next committed round, or to the end."""
        marks = [*(record.committed for record in self.commits), self.finished]
        return max(
            (min(mark - kill for mark in marks if mark > kill) for kill in self.kills), default=0.0
        )


@dataclass(kw_only=True)
class Mortal:
    """A federation on loopback that can be killed side by side."""

    layout: Layout
    arguments: Sequence[str] = ()
    """More words for ``fedcxr coordinator up``."""
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    supervisor: Supervisor = field(default_factory=Supervisor)
    programs: dict[str, Program] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.supervisor.__enter__()
        try:
            self._start()
        except BaseException:
            self.supervisor.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()

    @property
    def kills_path(self) -> Path:
        """Folder of the plan."""
        return self.layout.out / "kills"

    @property
    def trainings_path(self) -> Path:
        """File with a line per training."""
        return self.layout.out / "trainings"

    def side(self, name: str) -> str:
        """How the coordinator's, or a hospital's, processes are known."""
        return f"{self.name}/{name}"

    def processes(self) -> set[int]:
        """Every living process of either side."""
        return processes_of(f"{self.name}/", prefix=True)

    def run(self, study: StudyConfig, kills: list[Kill]) -> tuple[StudyStore, History]:
        """Have the study run to its end through all kills, which name sides by `side`."""
        write_plan(self.kills_path, kills)
        store, history = StudyStore.create(self.layout.coordinator, study), History()
        approve_everywhere(store, self.layout, NAMES)
        want(store)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not store.fact("finished") or store.is_running():
            self.tend()
            history.look(store)
            _look_at_ledgers(self.layout, history)
            assert not store.fact("stopped"), store.fact("stopped")
            assert time.monotonic() < deadline, f"round {len(history.commits)} was the last"
            time.sleep(LOOK_SECONDS)
        self._settle()
        history.look(store)
        history.finished = float(store.fact("finished"))
        history.kills = times_of_kills(self.kills_path, kills)
        return store, history

    def tend(self) -> None:
        """Start again what died."""
        self.supervisor.tend()
        for name, state in self.supervisor.states().items():
            if state.pid is None:
                self._see_off(name)
                self.supervisor.start(name, self.programs[name])

    def _see_off(self, name: str) -> None:
        """Wait until all of a side is dead; nobody may say then that its work goes on."""
        deadline = time.monotonic() + START_SECONDS
        while processes_of(self.side(name)) or (name == COORDINATOR and self._seems_to_run()):
            assert time.monotonic() < deadline, f"I6: {name} is dead, and its work is said to go on"
            time.sleep(LOOK_SECONDS)

    def _seems_to_run(self) -> bool:
        """Whether a study is said to be running."""
        stores = survey(self.layout.coordinator, answering)[0]
        return any(study_status(store).state == "running" for store in stores)

    def _settle(self) -> None:
        """Wait until whoever was killed last is back: a kill may come after the study's end."""
        wait_for_hospitals(self.supervisor, self.layout, NAMES)
        self._await_coordinator()

    def _start(self) -> None:
        up = (sys.executable, "-m", "cli", "coordinator", "up")
        program = Program(
            arguments=(*up, "--state", str(self.layout.coordinator), *self.arguments),
            environment=flower_environment(self.layout.logs / "home"),
            folder=self.layout.out,
            log_path=self.layout.logs / "coordinator.log",
        )
        self._launch(COORDINATOR, program)
        self._await_coordinator()
        endpoint = read_endpoint(self.layout.coordinator)
        for name in NAMES:
            write_hospital(self.layout, name, port=endpoint.port, ca_path=endpoint.ca_path)
            self._launch(name, hospital_program(self.layout, name))
        wait_for_hospitals(self.supervisor, self.layout, NAMES)

    def _launch(self, name: str, program: Program) -> None:
        variables = {
            "PYTHONPATH": os.pathsep.join([str(KILLING), str(KILLING.parents[2])]),
            KILLS_VARIABLE: str(self.kills_path),
            SIDE_VARIABLE: self.side(name),
            TRAININGS_VARIABLE: str(self.trainings_path),
        }
        self.programs[name] = replace(program, environment={**program.environment, **variables})
        self.supervisor.start(name, self.programs[name])

    def _await_coordinator(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                read_endpoint(self.layout.coordinator)
            except CoordinatorNotRunning:
                assert time.monotonic() < deadline, "the coordinator does not come up"
                self.tend()
                time.sleep(LOOK_SECONDS)
            else:
                return


def write_hospital(layout: Layout, name: str, *, port: int, ca_path: Path) -> None:
    """A hospital's profile, and a policy that allows private and other studies."""
    policy = {
        "data_set": name,
        "max_epsilon": 1e4,
        "delta": 1e-3,
        "min_noise_multiplier": 0.5,
        "max_sample_rate": 1.0,
        "max_local_steps": 100,
        "only_private": False,
        "kinds": ["full", "lora"],
    }
    write_file(layout.policy(name), dump_yaml(policy).encode())
    write_profile(layout, name, image_size=IMAGE_SIZE, port=port, ca_path=ca_path)


@contextmanager
def mortal_federation(out: Path, arguments: Sequence[str] = ()) -> Iterator[Mortal]:
    """A federation of two hospitals."""
    with Mortal(layout=Layout(out), arguments=arguments) as federation:
        yield federation


def _look_at_ledgers(layout: Layout, history: History) -> None:
    for name in NAMES:
        path = layout.hospital(name) / "privacy.ledger"
        num_lines = path.read_bytes().count(b"\n") if path.exists() else 0
        history.heads.setdefault(name, []).append(num_lines)

"""A real federation on loopback, and what happens to it: bad hospitals, dead hospitals, a dead coordinator."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from client.config import load_site
from client.rounds import answer
from federation.config import StudyConfig, parse_study
from federation.messages import Instruction
from federation.processes import Supervisor
from server.endpoint import read_endpoint
from server.rounds import Answered, Event, run_study
from server.start import starting_weights
from server.store import Part, StudyStore
from server.watch import run_to_end
from simulation.config import HeldOutSet, SimulationConfig
from simulation.federate import (
    hospital_program,
    start_coordinator,
    wait_for_hospitals,
    write_profile,
)
from simulation.hospitals import example_sites
from simulation.layout import Layout
from simulation.prepare import prepare

pytestmark = [pytest.mark.federation, pytest.mark.slow]

SABOTEUR = Path(__file__).parent / "saboteur"
IMAGE_SIZE = 16
KILL_AFTER = [float(seconds) for seconds in os.environ.get("FEDCXR_KILL_AFTER", "0").split(",")]
"""Seconds from the first committed round to the kill; `make faults` gives many."""


def study_of(
    *, name: str, num_sites: int, num_rounds: int, local_steps: int, deadline: float
) -> StudyConfig:
    local = f'{{"local_steps":{local_steps},"batch_size":4,"learning_rate":0.001}}'
    return parse_study(
        f'{{"name":"{name}","seed":5,"model":{{"size":"tiny","image_size":{IMAGE_SIZE}}},'
        f'"rounds":{{"num_sites":{num_sites},"min_sites":1,"deadline_seconds":{deadline},"retry_seconds":1}},'
        f'"stages":[{{"kind":"full","num_rounds":{num_rounds},"local":{local}}}]}}'
    )


def hospitals_of(study: StudyConfig, out: Path) -> tuple[Layout, list[str]]:
    """Caches of small phantom hospitals, one per site that the study expects."""
    sites = tuple(example_sites(study.rounds.num_sites, num_records=12, seed=3))
    plan = SimulationConfig(
        study=study, sites=sites, held_out=HeldOutSet(num_records=4, seed=1), phantom_size=64
    )
    return Layout(out), prepare(Layout(out), plan, lambda _: None)


@contextmanager
def federation(layout: Layout, names: list[str], *, faults: dict[str, str]) -> Iterator[Supervisor]:
    """A coordinator and its hospitals, some of them with a fault."""
    with Supervisor() as supervisor:
        endpoint = start_coordinator(supervisor, layout)
        for name in names:
            write_profile(
                layout, name, image_size=IMAGE_SIZE, port=endpoint.port, ca_path=endpoint.ca_path
            )
            program = hospital_program(layout, name)
            spoilt = {"PYTHONPATH": str(SABOTEUR), "FEDCXR_TEST_FAULT": faults.get(name, "")}
            environment = {**program.environment, **(spoilt if name in faults else {})}
            supervisor.start(name, replace(program, environment=environment))
        wait_for_hospitals(supervisor, layout, names)
        yield supervisor


def run_in_background(layout: Layout, study: StudyConfig) -> threading.Thread:
    thread = threading.Thread(
        target=run_to_end,
        args=(layout.coordinator, study),
        kwargs={"on_change": lambda _: None},
        daemon=True,
    )
    thread.start()
    return thread


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)


def part_of(store: StudyStore, number: int, site: str) -> Part:
    return next(part for part in store.parts() if (part.number, part.site) == (number, site))


def test_a_study_goes_on_without_the_hospitals_that_misbehave_or_die(tmp_path: Path) -> None:
    study = study_of(name="bad", num_sites=4, num_rounds=2, local_steps=2, deadline=25.0)
    layout, names = hospitals_of(study, tmp_path / "out")
    sound, sends_nan, omits, dies = names
    store = StudyStore.create(layout.coordinator, study)

    with federation(layout, names, faults={sends_nan: "nan", omits: "omit"}) as supervisor:
        thread = run_in_background(layout, study)
        wait_until(lambda: any(part.site == dies for part in store.parts()), seconds=60)
        pid = supervisor.states()[dies].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        thread.join(240)

    assert [record.number for record in store.rounds()] == [1, 2]
    assert part_of(store, 1, sound).state == "admitted"
    for number in (1, 2):
        assert part_of(store, number, sends_nan).code == "not-finite"
        assert "NaN" in part_of(store, number, sends_nan).reason
        assert part_of(store, number, omits).code == "tensors"
        assert "is missing" in part_of(store, number, omits).reason
    assert part_of(store, 1, dies).code == "no-answer"


@pytest.mark.parametrize("pause", KILL_AFTER)
def test_a_study_whose_coordinator_is_killed_ends_with_the_same_bits(
    tmp_path: Path, pause: float
) -> None:
    study = study_of(name="killed", num_sites=2, num_rounds=3, local_steps=2, deadline=120.0)
    layout, names = hospitals_of(study, tmp_path / "out")
    store = StudyStore.create(layout.coordinator, study)
    with federation(layout, names, faults={}) as supervisor:
        thread = run_in_background(layout, study)
        wait_until(lambda: len(store.rounds()) >= 1, seconds=90)
        time.sleep(pause)
        os.kill(read_endpoint(layout.coordinator).pid, signal.SIGKILL)
        wait_until(lambda: not store.is_running(), seconds=30)
        wait_until(lambda: _tended(supervisor, thread), seconds=240)

    undisturbed = undisturbed_digest(study, layout, names, tmp_path / "undisturbed")
    assert [record.number for record in store.rounds()] == [1, 2, 3]
    assert store.rounds()[-1].digest == undisturbed


def _tended(supervisor: Supervisor, thread: threading.Thread) -> bool:
    """Bring back what died; whether the study has ended."""
    supervisor.tend()
    return not thread.is_alive()


def undisturbed_digest(study: StudyConfig, layout: Layout, names: list[str], state: Path) -> str:
    """Digest of the last round when the same hospitals answer in this process."""
    sites = [load_site(layout.profile(name)) for name in names]

    def ask(instruction: Instruction) -> Iterator[Event]:
        for site in sites:
            fresh = replace(site, state_path=state / site.site_name)
            fresh.state_path.mkdir(parents=True, exist_ok=True)
            cache = fresh.state_path / "cache"
            if not cache.exists():
                cache.symlink_to(site.state_path / "cache")
            numbered = replace(instruction, site_number=store.number_site(site.site_name))
            yield Answered(site=site.site_name, answer=answer(fresh, numbered))

    store = StudyStore.create(state / "coordinator", study)
    run_study(store, ask, starting_weights)
    return store.rounds()[-1].digest

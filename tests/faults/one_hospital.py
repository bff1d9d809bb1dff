"""A real federation of one hospital that really trains, for tests of what its people do meanwhile."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.config import SiteConfig
from client.evidence.log import entries
from federation.config import StudyConfig, parse_study
from federation.processes import Supervisor, flower_environment
from server.store import StudyStore
from server.watch import run_to_end
from simulation.approvals import approve_everywhere
from simulation.federate import (
    start_coordinator,
    start_hospital,
    wait_for_hospitals,
    write_profile,
)
from simulation.layout import Layout

MakeHospital = Callable[..., SiteConfig]
NAME = "site-01"
IMAGE_SIZE = 16
IN_MAKE_FAULTS = [
    pytest.mark.federation,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("FEDCXR_ALL_FAULTS"), reason="`make faults` runs it"),
]


def study_of_one(name: str, *, num_rounds: int, num_steps: int) -> StudyConfig:
    """A study whose tensors travel beside messages, in some shards."""
    return parse_study(
        f'{{"name":"{name}","seed":5,"model":{{"size":"tiny","image_size":{IMAGE_SIZE}}},'
        '"rounds":{"num_sites":1,"min_sites":1,"deadline_seconds":300,"retry_seconds":1},'
        '"transport":{"inline_bytes":1000,"shard_values":200000},'
        f'"stages":[{{"kind":"full","num_rounds":{num_rounds},'
        f'"local":{{"local_steps":{num_steps},"batch_size":4,"learning_rate":0.001}}}}]}}'
    )


@contextmanager
def under_way(
    study: StudyConfig,
    layout: Layout,
    make_hospital: MakeHospital,
    *,
    prepare: Callable[[int], object] = lambda port: None,
) -> Iterator[StudyStore]:
    """The study runs; before it does, whatever else the coordinator at that port has to have."""
    make_hospital(layout.hospital(NAME), "state")
    with Supervisor() as supervisor:
        endpoint = start_coordinator(supervisor, layout)
        path, port = endpoint.ca_path, endpoint.port
        write_profile(layout, NAME, image_size=IMAGE_SIZE, port=port, ca_path=path)
        prepare(endpoint.port)
        store = StudyStore.create(layout.coordinator, study)
        approve_everywhere(store, layout, [NAME])
        start_hospital(supervisor, layout, NAME)
        wait_for_hospitals(supervisor, layout, [NAME])
        threading.Thread(
            target=lambda: run_to_end(layout.coordinator, study, on_change=lambda _: None),
            daemon=True,
        ).start()
        yield store


def state_of(layout: Layout) -> Path:
    """The folder of the hospital's program."""
    return layout.hospital(NAME) / "state"


def rounds_asked(layout: Layout) -> list[object]:
    """The rounds that the hospital's log says it was asked for, and trains for."""
    asked = [each for each in entries(state_of(layout)) if each.event == "round-asked"]
    return [each.facts.get("round") for each in asked]


def typed(layout: Layout, verb: str, *words: str) -> str:
    """What a command of the hospital's people says; it does as it is told."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", "hospital", verb, layout.profile(NAME), *words],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
        env=flower_environment(layout.out / "home"),
    )
    return done.stdout

"""A real federation on loopback for tests of what goes wrong: every program is the one of production, training apart.

What hospitals answer is generated, so that a round costs seconds and its bits are known beforehand; some of them may be
spoilt by the saboteur, or reach the coordinator over a bad line only.
"""

import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import pytest

from client import rounds as hospital_rounds
from client.config import load_site
from client.kept import KeptRounds, study_folder
from client.training import LocalResult
from federation.config import StudyConfig, parse_study, study_digest
from federation.messages import Instruction
from federation.processes import Supervisor
from server.endpoint import Endpoint
from server.instructing import EVERYTHING_INSIDE
from server.records import Part
from server.rounds import run_study
from server.sites import Answered, Event
from server.start import starting_weights
from server.store import StudyStore
from server.watch import StudyStopped, run_to_end
from simulation.approvals import approve_everywhere
from simulation.federate import (
    hospital_program,
    start_coordinator,
    wait_for_hospitals,
    write_profile,
)
from simulation.in_process import InProcess
from simulation.layout import Layout
from tests.faults.line import FaultyLine
from tests.faults.tiny_proxy import TinyProxy

Front = Callable[[Endpoint], AbstractContextManager[int]]
"""Puts something before the coordinator's port, and tells its own."""
SABOTEUR = Path(__file__).parent / "saboteur"
STAND_IN = Path(__file__).parents[2] / "bench" / "stand_in" / "sitecustomize.py"
IMAGE_SIZE = 16
OUTSIDE_NAME = "coordinator.example"


def study_of(
    name: str,
    *,
    num_sites: int,
    min_sites: int,
    num_rounds: int,
    deadline: float = 120.0,
    size: str = "tiny",
    inline_bytes: int = 1000,
    shard_values: int = 200_000,
) -> StudyConfig:
    """A study whose tensors travel beside messages, in some shards."""
    return parse_study(
        f'{{"name":"{name}","seed":5,"model":{{"size":"{size}","image_size":{IMAGE_SIZE}}},'
        f'"rounds":{{"num_sites":{num_sites},"min_sites":{min_sites},"deadline_seconds":{deadline},"retry_seconds":1}},'
        f'"transport":{{"inline_bytes":{inline_bytes},"shard_values":{shard_values}}},'
        f'"stages":[{{"kind":"full","num_rounds":{num_rounds},'
        f'"local":{{"local_steps":2,"batch_size":4,"learning_rate":0.001}}}}]}}'
    )


def names_of(study: StudyConfig) -> list[str]:
    """One hospital per site that the study expects."""
    return [f"site-{number:02d}" for number in range(1, study.rounds.num_sites + 1)]


@dataclass(kw_only=True)
class Federation:
    """What runs, and where it keeps things."""

    layout: Layout
    study: StudyConfig
    supervisor: Supervisor
    lines: Mapping[str, FaultyLine]
    stopped: list[str] = field(default_factory=list)
    """Why the study waits for a person, if it does."""

    def __post_init__(self) -> None:
        self.store = StudyStore.create(self.layout.coordinator, self.study)

    def approve(self) -> None:
        """What people do at every hospital before it takes part."""
        approve_everywhere(self.store, self.layout, names_of(self.study))

    def run(self) -> threading.Thread:
        """Have the study run, and watch it from a thread."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        return thread

    def _watch(self) -> None:
        try:
            run_to_end(self.layout.coordinator, self.study, on_change=lambda _: None)
        except StudyStopped as err:
            self.stopped.append(str(err))

    def part(self, number: int, site: str) -> Part:
        """One hospital's part in a round."""
        parts = self.store.parts()
        return next(part for part in parts if (part.number, part.site) == (number, site))

    def log(self, name: str) -> str:
        """What a program printed, and those that it started."""
        folder = self.layout.hospital(name) / "state" / "logs"
        paths = [self.layout.logs / f"{name}.log", *sorted(folder.glob("*.log"))]
        return "\n".join(path.read_text() for path in paths if path.exists())


@contextmanager
def federation(
    out: Path,
    study: StudyConfig,
    *,
    faults: Mapping[str, Sequence[str]] | None = None,
    behind_lines: Sequence[str] = (),
    is_approved: bool = True,
    front: Front = lambda endpoint: nullcontext(endpoint.port),
    proxies: Mapping[str, TinyProxy] | None = None,
) -> Iterator[Federation]:
    """A coordinator and its hospitals.

    Args:
        out: Where everything is kept.
        study: Decides how many hospitals there are.
        faults: By hospital: what is wrong with its first round's answer, its second's, and so on.
        behind_lines: Hospitals that reach the coordinator over a line that can be broken.
        is_approved: Whether the hospitals have approved the study's plan already.
        front: What hospitals reach instead of the coordinator itself.
        proxies: By hospital: the only way out of its network, in which the coordinator has no address.
    """
    layout, names = Layout(out), names_of(study)
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        endpoint = start_coordinator(supervisor, layout)
        public = stack.enter_context(front(endpoint))
        lines = {name: stack.enter_context(FaultyLine(public)) for name in behind_lines}
        for name in names:
            port = lines[name].port if name in lines else public
            write_profile(layout, name, image_size=IMAGE_SIZE, port=port, ca_path=endpoint.ca_path)
            if proxies and name in proxies:
                lock_in(layout.profile(name), proxies[name])
            start_untrained(supervisor, layout, name, (faults or {}).get(name, ()))
        wait_for_hospitals(supervisor, layout, names)
        found = Federation(layout=layout, study=study, supervisor=supervisor, lines=lines)
        if is_approved:
            found.approve()
        yield found


def lock_in(profile: Path, proxy: TinyProxy) -> None:
    """Give a hospital a proxy, and a name for the coordinator that only the proxy can make something of."""
    text = profile.read_text().replace("coordinator: 127.0.0.1:", f"coordinator: {OUTSIDE_NAME}:")
    assert OUTSIDE_NAME in text
    profile.write_text(f"{text}proxy: http://127.0.0.1:{proxy.port}\n")


def start_untrained(
    supervisor: Supervisor, layout: Layout, name: str, faults: Sequence[str]
) -> None:
    """Start a hospital that answers without training, and perhaps wrongly."""
    program = hospital_program(layout, name)
    variables = {
        "PYTHONPATH": str(SABOTEUR),
        "FEDCXR_TEST_STAND_IN": str(STAND_IN),
        "FEDCXR_TEST_FAULTS": ",".join(faults),
    }
    supervisor.start(name, replace(program, environment={**program.environment, **variables}))


def wait_until(condition: Callable[[], object], *, seconds: float, pause: float = 0.1) -> float:
    """Wait until something holds; how many seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "timed out"
        time.sleep(pause)
    return time.monotonic() - started


def digests_of_honest(
    study: StudyConfig, layout: Layout, names: Sequence[str], state: Path
) -> list[str]:
    """Digests of all rounds when these hospitals alone answer, in this process and without a network."""
    store = StudyStore.create(state / "coordinator", study)

    def ask(instruction: Instruction) -> Iterator[Event]:
        for name in names:
            site = replace(load_site(layout.profile(name)), state_path=state / name)
            numbered = replace(instruction, site_number=store.number_site(name))
            update = hospital_rounds.answer(site, numbered)
            kept = KeptRounds(study_folder(site, study_digest(study))).read(numbered.round_number)
            assert kept is not None, update
            yield Answered(site=name, answer=kept.ready(EVERYTHING_INSIDE))

    with pytest.MonkeyPatch.context() as patch:
        stand_in = _loaded(STAND_IN, patch)
        patch.setattr(
            hospital_rounds,
            "train",
            lambda site, task, kept, _=None: stand_in.train(hospital_rounds, site, task, kept),
        )
        patch.setenv("FEDCXR_BENCH_CHANGE", "")
        run_study(store, InProcess(ask), starting_weights)
    return [record.digest for record in store.rounds()]


def _loaded(path: Path, patch: pytest.MonkeyPatch) -> ModuleType:
    """The stand-in as a module, without what it does to imports."""
    patch.setattr(sys, "meta_path", list(sys.meta_path))
    spec = importlib.util.spec_from_file_location("stand_in", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    patch.setattr(hospital_rounds, "LocalResult", LocalResult, raising=False)
    return module

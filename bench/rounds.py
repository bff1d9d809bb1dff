"""Rounds of a large model over the real federation, without training: memory, time and bytes on both sides.

    python bench/rounds.py [--size xl-1.3b] [--sites 2 4 8] [--rank 16 [--held-base]] [--folder FOLDER] [--scratch-gb 4]

Every program is the one of production, over TLS on this machine; only training is replaced by a change that lies ready
(bench/stand_in). With --rank the adapter of that rank travels instead of the model. Memory is the sum over all processes
of a side, the coordinator's and the largest hospital's: resident sets, which count shared pages once per process, and
proportional ones, which count them once. The rate that the round is held against is that of a bare TLS socket whose
reader writes to the same disk as many bytes as all hospitals receive: the mean of a run before and a run after, as a
disk's pace may change threefold in between.

With --held-base there are rounds of the adapter alone, above a model that every hospital holds already; then the
seconds of every round are told, and what the coordinator's log says of where they went.
"""

import argparse
import os
import pickle
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Self

import psutil
from blobs import SHARD_BYTES, raw_rate
from held_base import HeldBase, make_base
from stand_in.sitecustomize import generated_change

from client.packing import pack_change
from federation.config import ModelChoice, RoundRules, StudyConfig, Transport
from federation.processes import Supervisor
from federation.stages import FullStage, LocalTraining, LoraStage
from model.adapter import adapter_shapes
from model.checkpoint import network_shapes
from model.conditioning import Schema
from model.config import AdapterConfig, model_config
from model.tensors import Shapes, num_values
from server.environment import SCRATCH_VARIABLE
from server.store import StudyStore
from server.watch import want
from simulation.approvals import approve_everywhere
from simulation.federate import (
    hospital_program,
    start_coordinator,
    wait_for_hospitals,
    write_profile,
)
from simulation.layout import Layout

STAND_IN = Path(__file__).parent / "stand_in"
IMAGE_SIZES = {"tiny": 64, "small": 256, "base": 256, "large": 512, "xl-1.3b": 512}
PAUSE_SECONDS = 0.5
LOOKS_AT_PAGES = 8
"""One look in so many counts shared pages too: done every time, that takes a seventh of a processor from what is measured."""
GIGABYTE = 1e9


@dataclass(kw_only=True)
class Memory:
    """Peaks of the summed memory of some process trees, watched from a thread."""

    roots: dict[str, int]
    """Name -> process id."""
    resident: dict[str, int] = field(default_factory=dict)
    proportional: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        for number in count():
            if self._over.wait(PAUSE_SECONDS * len(self.roots) / 4):  # looking takes time too
                return
            below = children()
            for name, pid in self.roots.items():
                self._note(self.resident, name, tree_memory(pid, below, resident_bytes))
                if number % LOOKS_AT_PAGES == 0:
                    self._note(self.proportional, name, tree_memory(pid, below, proportional_bytes))

    def _note(self, peaks: dict[str, int], name: str, num_bytes: int) -> None:
        peaks[name] = max(peaks.get(name, 0), num_bytes)


def children() -> dict[int, list[int]]:
    """Ids of the processes below each process of this machine, read once for all trees."""
    below: dict[int, list[int]] = {}
    for pid in psutil.pids():
        try:
            # id (name) state parent ...; a name may hold anything, parentheses too
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        below.setdefault(parent, []).append(pid)
    return below


def tree_memory(
    pid: int, below: Mapping[int, Sequence[int]], of: Callable[[psutil.Process], int]
) -> int:
    """Bytes of a process and everything below it."""
    own = 0
    with suppress(psutil.Error):  # it may have ended
        own = of(psutil.Process(pid))
    return own + sum(tree_memory(child, below, of) for child in below.get(pid, ()))


def resident_bytes(process: psutil.Process) -> int:
    """Pages of a process that are in memory."""
    return int(process.memory_info().rss)


def proportional_bytes(process: psutil.Process) -> int:
    """The same, each page divided by the number of processes that share it; the system counts them one by one."""
    return int(process.memory_full_info().pss)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One study of one round."""

    num_sites: int
    seconds: float
    """From the first question to the commit."""
    bytes_each_way: int
    """Of all sites together."""
    coordinator: tuple[int, int]
    """Resident, proportional bytes at their peak."""
    hospital: tuple[int, int]
    """The same of the hospital that needed most."""
    story: tuple[str, ...] = ()
    """What the coordinator's log says of its rounds."""


def study_of(
    num_sites: int, *, size: str, rank: int | None, base: HeldBase | None = None
) -> StudyConfig:
    """One round that nobody trains in; with a rank, some of an adapter after one of the model, or above a held one."""
    local = LocalTraining(local_steps=1, batch_size=1, learning_rate=1e-4)
    stages: list[FullStage | LoraStage] = []
    if base is None:
        stages.append(FullStage(kind="full", num_rounds=1, local=local))
    if rank:
        stages.append(
            LoraStage(kind="lora", num_rounds=3, local=local, rank=rank, alpha=float(rank))
        )
    return StudyConfig(
        name="bench",
        seed=1,
        model=ModelChoice(
            size=size, image_size=IMAGE_SIZES[size], start=base.digest if base else None
        ),
        rounds=RoundRules(num_sites=num_sites, min_sites=num_sites, deadline_seconds=36000.0),
        stages=tuple(stages),
        transport=Transport(),
    )


@contextmanager
def federation(
    layout: Layout,
    names: Sequence[str],
    *,
    max_scratch: float,
    ready: Mapping[str, Path] | None = None,
) -> Iterator[Supervisor]:
    """A coordinator and its hospitals, who send changes that lie ready or are generated."""
    os.environ[SCRATCH_VARIABLE] = str(int(max_scratch))
    with Supervisor() as supervisor:
        endpoint = start_coordinator(supervisor, layout)
        for name in names:
            write_profile(layout, name, image_size=64, port=endpoint.port, ca_path=endpoint.ca_path)
            program = hospital_program(layout, name)
            environment = {**program.environment, "PYTHONPATH": str(STAND_IN)}
            if ready is not None:
                environment["FEDCXR_BENCH_CHANGE"] = str(ready[name])
            supervisor.start(name, replace(program, environment=environment))
        wait_for_hospitals(supervisor, layout, names)
        yield supervisor


def measure(
    folder: Path,
    num_sites: int,
    *,
    size: str,
    rank: int | None,
    scratch: float,
    base: HeldBase | None = None,
) -> Measured:
    """Run the study and watch both sides."""
    layout = Layout(folder)
    study = study_of(num_sites, size=size, rank=rank, base=base)
    names = [f"site-{number:02d}" for number in range(1, num_sites + 1)]
    ready = make_ready(folder / "ready", names, moving_shapes(size, rank), shared=rank is None)
    with federation(layout, names, max_scratch=scratch, ready=ready) as supervisor:
        pids = {name: state.pid for name, state in supervisor.states().items() if state.pid}
        with Memory(roots=pids) as memory:
            store = StudyStore.create(layout.coordinator, study)
            approve_everywhere(store, layout, names)
            if base is not None:
                base.give(layout, names, store)
            want(store)
            while len(store.rounds()) < study.num_rounds and not store.fact("stopped"):
                time.sleep(PAUSE_SECONDS)
    last = store.rounds()[-1]
    weights = store.load_state()
    assert weights is not None  # noqa: S101  a benchmark
    return Measured(
        num_sites=num_sites,
        seconds=last.seconds,
        bytes_each_way=4 * num_values(weights.weights.shapes) * num_sites,
        coordinator=(memory.resident["coordinator"], memory.proportional["coordinator"]),
        hospital=(
            max(memory.resident[name] for name in names),
            max(memory.proportional[name] for name in names),
        ),
        story=tuple(log_of_rounds(layout.coordinator)),
    )


def log_of_rounds(state_path: Path) -> list[str]:
    """What the study's process said of its rounds; Flower keeps that in its database."""
    with closing(sqlite3.connect(state_path / "superlink.db")) as database:
        lines = database.execute("SELECT log FROM task_logs ORDER BY timestamp").fetchall()
    return [line.strip() for (line,) in lines if ": round " in line]


def moving_shapes(size: str, rank: int | None) -> Shapes:
    """What hospitals change in the last stage."""
    config = model_config(size, IMAGE_SIZES[size])
    if rank is None:
        return network_shapes(config, Schema())
    return adapter_shapes(config, AdapterConfig(rank=rank, alpha=float(rank)))


def make_ready(
    folder: Path, names: Sequence[str], shapes: Shapes, *, shared: bool
) -> dict[str, Path]:
    """Packed changes that hospitals send; they share one where a disk could not hold one for each."""
    ready: dict[str, Path] = {}
    for name in names[:1] if shared else names:
        ready[name] = folder / name
        ready[name].mkdir(parents=True)
        change = generated_change(name, shapes)
        packed = pack_change(ready[name], change, Transport(), earlier=None)
        (ready[name] / "packed").write_bytes(pickle.dumps(packed))
    return {name: ready.get(name, ready[names[0]]) for name in names}


def table(rows: Sequence[Measured], raw: float) -> str:
    """A line per study."""
    lines = [
        "sites  seconds  GB down  GB up  MB/s  of raw  coordinator RSS/PSS GB  hospital RSS/PSS GB"
    ]
    for row in rows:
        rate = 2 * row.bytes_each_way / row.seconds / 1e6
        moved = row.bytes_each_way / GIGABYTE
        sides = [
            f"{a / GIGABYTE:.2f} / {b / GIGABYTE:.2f}" for a, b in (row.coordinator, row.hospital)
        ]
        lines.append(
            f"{row.num_sites:5d}  {row.seconds:7.1f}  {moved:7.2f}  {moved:5.2f}  {rate:4.0f}  {rate / raw:6.2f}  "
            f"{sides[0]:>22}  {sides[1]:>19}"
        )
    return "\n".join(lines)


def held_base(folder: Path, size: str) -> HeldBase:
    """A frozen model of zeros beside the benchmark's other files."""
    return make_base(folder / "base.safetensors", size=size, image_size=IMAGE_SIZES[size])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", default="xl-1.3b", choices=IMAGE_SIZES)
    parser.add_argument("--sites", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--rank", type=int)
    parser.add_argument("--held-base", action="store_true")
    parser.add_argument("--scratch-gb", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    rows = []
    for num_sites in options.sites:
        folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="rounds-"))
        try:
            moved = 4 * num_values(moving_shapes(options.size, options.rank))
            num_shards = -(-moved // SHARD_BYTES)
            before = raw_rate(folder, num_sites * num_shards, os.urandom(SHARD_BYTES))
            base = held_base(folder, options.size) if options.held_base else None
            rows.append(
                measure(
                    folder / "out",
                    num_sites,
                    size=options.size,
                    rank=options.rank,
                    scratch=options.scratch_gb * GIGABYTE,
                    base=base,
                )
            )
            shutil.rmtree(folder / "out")
            after = raw_rate(folder, num_sites * num_shards, os.urandom(SHARD_BYTES))
            raw = (before + after) / 2
            print(f"raw TLS to disk: {before:.0f} MB/s before, {after:.0f} after", flush=True)
            print(table(rows[-1:], raw), flush=True)
            if base is not None:
                print("\n".join(rows[-1].story), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

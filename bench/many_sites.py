"""Many sites over many small rounds: what a round costs, what the coordinator keeps of it, and whether every site counts.

    python bench/many_sites.py [--engine ray] [--sites 100] [--rounds 20] [--folder FOLDER]
    python bench/many_sites.py --engine processes --sites 16 --rounds 5

Everything is as in production, or in a simulation with the engine ray; only training is replaced by a change that is
generated at once (bench/stand_in). What travels is an adapter of the model tiny. The slope of the coordinator's memory
is that of the straight line with the least squares, without the first rounds, in which buffers fill up.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import psutil
from held_base import HeldBase, make_base
from rounds import (
    STAND_IN,
    children,
    federation,
    proportional_bytes,
    resident_bytes,
    tree_memory,
)

from federation.config import ModelChoice, RoundRules, StudyConfig
from federation.stages import LocalTraining, LoraStage
from server.records import RoundRecord
from server.store import StudyStore
from server.watch import run_to_end
from simulation.layout import Layout
from simulation.ray_engine import run_over_ray

SIZE, IMAGE_SIZE, RANK = "tiny", 64, 4
LOOK_SECONDS = 0.2
NO_CAP = 1e15
"""Bytes of scratch."""
WARMING_ROUNDS = 3
COORDINATOR = "coordinator"
HEADER = "round  sites  seconds  coordinator RSS / PSS MB  hospital RSS / PSS MB: median, largest"
MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Memory just after a round was committed, in bytes: resident and proportional, by name."""

    number: int
    memory: Mapping[str, tuple[int, int]]


@dataclass(kw_only=True)
class EveryRound:
    """Looks at memory once a round, from a thread, and prints what it sees."""

    store: StudyStore
    look: Callable[[], Mapping[str, tuple[int, int]]]
    looks: list[Look] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        print(HEADER, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._look()
        self._look()

    def _look(self) -> None:
        records = self.store.rounds()
        if records and (not self.looks or self.looks[-1].number < records[-1].number):
            self.looks.append(Look(number=records[-1].number, memory=self.look()))
            print(line(records[-1], self.looks[-1]), flush=True)


def study_of(num_sites: int, num_rounds: int, base: HeldBase) -> StudyConfig:
    """Rounds of a small adapter that nobody trains; a site that does not count fails the round."""
    local = LocalTraining(local_steps=1, batch_size=1, learning_rate=1e-4)
    return StudyConfig(
        name="many-sites",
        seed=1,
        model=ModelChoice(size=SIZE, image_size=IMAGE_SIZE, start=base.digest),
        rounds=RoundRules(
            num_sites=num_sites, min_sites=num_sites, deadline_seconds=3600.0, retry_seconds=1.0
        ),
        stages=(
            LoraStage(
                kind="lora", num_rounds=num_rounds, local=local, rank=RANK, alpha=float(RANK)
            ),
        ),
    )


def over_ray(
    study: StudyConfig, names: Sequence[str], layout: Layout, store: StudyStore
) -> list[Look]:
    """All sites in a pool of processes; the coordinator is this process."""
    paths = [str(STAND_IN), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    def look() -> Mapping[str, tuple[int, int]]:
        memory = psutil.Process().memory_full_info()
        return {COORDINATOR: (memory.rss, memory.pss)}

    with EveryRound(store=store, look=look) as every:
        run_over_ray(study, names, layout, on_change=lambda _: None)
    return every.looks


def over_processes(
    study: StudyConfig, names: Sequence[str], layout: Layout, store: StudyStore
) -> list[Look]:
    """Every site with its own programs."""
    with federation(layout, names, max_scratch=NO_CAP) as supervisor:
        pids = {name: state.pid for name, state in supervisor.states().items() if state.pid}

        def look() -> Mapping[str, tuple[int, int]]:
            below = children()
            return {
                name: (
                    tree_memory(pid, below, resident_bytes),
                    tree_memory(pid, below, proportional_bytes),
                )
                for name, pid in pids.items()
            }

        with EveryRound(store=store, look=look) as every:
            run_to_end(layout.coordinator, study, on_change=lambda _: supervisor.tend())
    return every.looks


ENGINES = {"ray": over_ray, "processes": over_processes}


def num_failures(store: StudyStore) -> int:
    """Parts that did not count, and attempts that were made again."""
    parts = store.parts()
    refused = sum(part.state != "admitted" for part in parts)
    return refused + sum(part.attempt > 1 for part in parts)


def slope(looks: Sequence[Look]) -> float:
    """MB that the coordinator's resident memory grows in a round, by least squares."""
    warm = [look for look in looks if look.number > WARMING_ROUNDS] or looks
    if len(warm) < 2:
        return float("nan")
    numbers = np.array([look.number for look in warm], dtype=np.float64)
    megabytes = np.array([look.memory[COORDINATOR][0] / MEGABYTE for look in warm])
    return float(np.polyfit(numbers, megabytes, 1)[0])


def line(record: RoundRecord, look: Look) -> str:
    """What is printed of a round."""
    memory = dict(look.memory)
    told = f"{record.number:5d}  {record.num_sites:5d}  {record.seconds:7.1f}  {_megabytes(memory.pop(COORDINATOR)):>24}"
    if not memory:
        return told
    hospitals = list(memory.values())
    middle = tuple(round(statistics.median(side)) for side in zip(*hospitals, strict=True))
    return f"{told}  {_megabytes(middle)}, {_megabytes(max(hospitals))}"


def summary(store: StudyStore, looks: Sequence[Look]) -> str:
    """What follows from all rounds."""
    records = store.rounds()
    later = [record.seconds for record in records[1:]] or [records[0].seconds]
    return (
        f"{len(records)} rounds: {num_failures(store)} failures, median {statistics.median(later):.1f} s a round after the "
        f"first, slope {slope(looks):+.2f} MB a round after round {WARMING_ROUNDS}"
    )


def _megabytes(sides: tuple[int, ...]) -> str:
    return " / ".join(f"{side / MEGABYTE:.0f}" for side in sides)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--engine", default="ray", choices=ENGINES)
    parser.add_argument("--sites", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="many-sites-") as name:
        layout = Layout(Path(name))
        base = make_base(layout.out / "base.safetensors", size=SIZE, image_size=IMAGE_SIZE)
        study = study_of(options.sites, options.rounds, base)
        names = [f"site-{number:03d}" for number in range(1, options.sites + 1)]
        store = StudyStore.create(layout.coordinator, study)
        base.give_to_coordinator(store)
        started = time.monotonic()
        looks = ENGINES[options.engine](study, names, layout, store)
        print(summary(store, looks))
        print(f"{time.monotonic() - started:.0f} s in all, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

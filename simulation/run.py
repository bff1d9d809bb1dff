"""A simulation from end to end: hospitals, federation, comparison, report. Every step is skipped if done."""

import shutil
import time
from pathlib import Path

from federation.files import write_file
from server.export import adapter_path, model_path
from server.progress import show_progress
from server.start import take_start
from server.store import StudyStore
from simulation.compare import compare
from simulation.config import SimulationConfig, simulation_digest
from simulation.federate import run_over_processes
from simulation.layout import Layout
from simulation.prepare import Say, prepare
from simulation.ray_engine import run_over_ray
from simulation.report import write_report
from simulation.summary import Summary

ENGINES = {"processes": run_over_processes, "ray": run_over_ray}


class UnknownEngine(ValueError):
    """No such way to run a federation."""

    def __init__(self, engine: str) -> None:
        super().__init__(f"there is no engine {engine!r}: give one of {', '.join(ENGINES)}")


class OtherSimulation(RuntimeError):
    """The folder belongs to something else."""

    def __init__(self, out: Path) -> None:
        super().__init__(
            f"{out} holds the results of another simulation: give a new folder with --out, or remove this one"
        )


def run_simulation(
    plan: SimulationConfig, out: Path, *, engine: str, say: Say, command: str
) -> Summary:
    """Write the hospitals, run the study over them, compare, report.

    Args:
        plan: What to simulate.
        out: Folder for everything; an unfinished simulation in it is continued.
        engine: ``processes`` or ``ray``.
        say: Takes one line of progress.
        command: What to type to do the same again.

    Raises:
        UnknownEngine: for another engine.
        OtherSimulation: if the folder holds another one.
    """
    if engine not in ENGINES:
        raise UnknownEngine(engine)
    started, layout = time.monotonic(), claim(out, plan)
    try:
        names = prepare(layout, plan, say)
        store = federate(plan, names, layout, engine=engine, say=say)
        comparison = compare(plan, store, names, layout, say)
    except KeyboardInterrupt:
        say(
            f"stopped, and every program with it; finished rounds are kept. To go on, type: {command}"
        )
        raise
    copy_results(store, layout)
    summary = Summary(
        name=plan.study.name,
        out=out,
        seconds=time.monotonic() - started,
        comparison=comparison,
        judged_on=plan.judged_on,
    )
    write_report(layout, store, summary)
    return summary


def federate(
    plan: SimulationConfig, names: list[str], layout: Layout, *, engine: str, say: Say
) -> StudyStore:
    """Run the study over a federation, unless it is finished."""
    store = StudyStore.create(layout.coordinator, plan.study)
    if not store.fact("finished"):
        take_start(store, plan.start_path)
        for name in sorted(names):  # now, so that who connects first decides nothing
            store.number_site(name)
        say(f"federation: {len(names)} hospitals, {plan.study.num_rounds} rounds, engine {engine}")
        with show_progress(say) as on_change:
            ENGINES[engine](plan.study, names, layout, on_change=on_change)
    return store


def claim(out: Path, plan: SimulationConfig) -> Layout:
    """The folder for this simulation: a new one, or the one it was begun in."""
    mark, digest = out / "simulation", simulation_digest(plan)
    if mark.exists() and mark.read_text() != digest:
        raise OtherSimulation(out)
    if not mark.exists() and out.exists() and any(out.iterdir()):
        raise OtherSimulation(out)
    write_file(mark, digest.encode())
    return Layout(out)


def copy_results(store: StudyStore, layout: Layout) -> None:
    """Put the models where a person looks for them."""
    for source in (model_path(store), adapter_path(store)):
        if source.exists():
            shutil.copytree(source, layout.out / source.name, dirs_exist_ok=True)

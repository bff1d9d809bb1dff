"""Shared fixtures and the Hypothesis profile."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from client.config import SiteConfig
from federation.config import FullStage, LoraStage, ModelChoice, RoundRules, StudyConfig
from model.arrays import Arrays
from model.conditioning import FINDINGS, Metadata, Schema

if TYPE_CHECKING:
    from server.store import StudyStore
    from simulation.config import SimulationConfig
    from simulation.summary import Summary

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("ci")

IMAGE_SIZE = 16
MEMORY_DISK = Path("/dev/shm")  # noqa: S108  every file below it has a random name


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """An empty folder that does not wait for a disk, where the system has one; for durable state in bulk."""
    if not os.access(MEMORY_DISK, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def study_of() -> Callable[..., StudyConfig]:
    """Makes a study of the given stages; keywords are rules of the rounds."""

    def build(
        *stages: FullStage | LoraStage,
        seed: int = 1,
        **rules: Any,  # noqa: ANN401
    ) -> StudyConfig:
        return StudyConfig(
            name="toy",
            seed=seed,
            model=ModelChoice(size="tiny", image_size=IMAGE_SIZE),
            rounds=RoundRules(**{"num_sites": 3, "min_sites": 2, "retry_seconds": 0.01, **rules}),
            stages=stages,
        )

    return build


@pytest.fixture(scope="session")
def random_weights() -> Arrays:
    """Weights of a whole network in which every layer has its say."""
    from model.checkpoint import network_shapes
    from model.config import model_config

    rng = np.random.default_rng(5)
    shapes = network_shapes(model_config("tiny", IMAGE_SIZE), Schema())
    return {
        name: rng.normal(0.0, 0.1, shape).astype(np.float32)
        for name, shape in sorted(shapes.items())
    }


@pytest.fixture(scope="session")
def make_hospital() -> Callable[..., SiteConfig]:
    """Makes a hospital with a cache of random radiographs, and gives its profile."""

    def build(
        folder: Path,
        name: str = "a",
        *,
        num_records: int = 12,
        **choices: Any,  # noqa: ANN401
    ) -> SiteConfig:
        site = SiteConfig(
            site_name=name,
            coordinator="localhost:1",
            ca_path=folder / "ca.crt",
            data_path=folder / "data",
            state_path=folder / name,
            image_size=IMAGE_SIZE,
            **choices,
        )
        write_cache(site.state_path / "cache", num_records=num_records, seed=sum(name.encode()))
        return site

    return build


def write_cache(path: Path, *, num_records: int, seed: int) -> None:
    """A cache of noise: two radiographs a patient, the last patient held out."""
    from client.cache.writer import cache_draft, publish
    from client.tally import Tally

    rng = np.random.default_rng(seed)
    shape = (num_records, IMAGE_SIZE, IMAGE_SIZE)
    images: NDArray[np.uint16] = rng.integers(0, 2**16, shape, dtype=np.uint16)
    patients = np.arange(num_records, dtype=np.uint64) // np.uint64(2)
    row = Schema().row(
        Metadata(age=50.0, sex="F", view="PA", race=None, site=1, manufacturer=None, findings={})
    )
    held_out = patients == patients[-1]
    tally = Tally(
        num_files=num_records + 1,
        num_usable=num_records,
        refused={},
        num_patients=len(set(patients.tolist())),
        num_held_out=int(held_out.sum()),
    )
    with cache_draft(path) as draft:
        publish(
            draft,
            path,
            images=images,
            image_size=IMAGE_SIZE,
            rows=np.tile(row, (num_records, 1)),
            patients=patients,
            held_out=held_out,
            findings=FINDINGS,
            tally=tally,
            settings="",
        )


@pytest.fixture
def fedcxr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Types a command in this process; gives its exit code, standard output and standard error."""
    import cli

    def type_command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedcxr", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, said.out, said.err

    return type_command


@pytest.fixture
def refused(fedcxr: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Types a command that must be refused as a person's mistake; gives the message."""

    def type_command(*words: object) -> str:
        code, out, err = fedcxr(*words)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("error: ") == 1
        assert "Traceback" not in err
        return err.removeprefix("error: ")

    return type_command


@pytest.fixture(scope="session")
def mini_plan() -> Callable[..., "SimulationConfig"]:
    """Makes the smallest simulation: two hospitals, one full round and one adapter round."""
    from federation.config import LocalTraining
    from simulation.config import HeldOutSet, SimulationConfig
    from simulation.hospitals import example_sites

    local = LocalTraining(
        local_steps=3, batch_size=2, learning_rate=1e-2
    )  # deep enough for a gradient
    full = FullStage(kind="full", num_rounds=1, local=local)
    bold = LocalTraining(local_steps=2, batch_size=2, learning_rate=0.1)
    lora = LoraStage(kind="lora", num_rounds=1, local=bold, rank=2, alpha=2.0)

    def build(
        *stages: FullStage | LoraStage, num_sites: int = 2, seed: int = 1
    ) -> SimulationConfig:
        return SimulationConfig(
            study=StudyConfig(
                name="mini",
                seed=seed,
                model=ModelChoice(size="tiny", image_size=IMAGE_SIZE),
                rounds=RoundRules(num_sites=num_sites, min_sites=num_sites, retry_seconds=0.01),
                stages=stages or (full, lora),
            ),
            sites=tuple(example_sites(num_sites, num_records=6, seed=3)),
            held_out=HeldOutSet(num_records=5, seed=9),
            phantom_size=32,
        )

    return build


@pytest.fixture(scope="session")
def federate_in_process() -> Callable[..., "StudyStore"]:
    """An engine without processes: the coordinator's loop calls the hospitals' functions."""
    from client.config import load_site
    from client.rounds import answer
    from federation.messages import Instruction
    from server.export import export_models
    from server.rounds import Answered, Asked, Event, run_study
    from server.start import starting_weights
    from server.store import StudyStore
    from simulation.federate import write_profile
    from simulation.layout import Layout

    def engine(
        study: StudyConfig,
        names: Sequence[str],
        layout: Layout,
        *,
        on_change: Callable[[StudyStore], None],
    ) -> StudyStore:
        for name in names:
            write_profile(
                layout, name, image_size=IMAGE_SIZE, port=1, ca_path=layout.coordinator / "ca.crt"
            )
        sites = [load_site(layout.profile(name)) for name in names]

        def ask(instruction: Instruction) -> Iterator[Event]:
            for site in sites:
                yield Asked(site=site.site_name, bytes_down=0)
                yield Answered(site=site.site_name, answer=answer(site, instruction))

        store = StudyStore.create(layout.coordinator, study)
        with store.lock():
            export_models(store, run_study(store, ask, starting_weights))
        store.set_fact("finished", "now")
        on_change(store)
        return store

    return engine


@pytest.fixture(scope="session")
def mini_simulation(
    tmp_path_factory: pytest.TempPathFactory,
    mini_plan: Callable[..., "SimulationConfig"],
    federate_in_process: Callable[..., "StudyStore"],
) -> Iterator[tuple[Path, "Summary", list[str]]]:
    """The folder, the summary and the lines of one simulation, run once; tests only look at it."""
    from simulation.run import ENGINES, run_simulation

    disk = MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else tmp_path_factory.mktemp("disk")
    with tempfile.TemporaryDirectory(dir=disk) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "processes", federate_in_process)
        patch.setattr("simulation.pictures.NUM_STEPS", 1)
        out, said = Path(folder) / "out", list[str]()
        summary = run_simulation(
            mini_plan(), out, engine="processes", say=said.append, command="the same"
        )
        patch.undo()
        yield out, summary, said

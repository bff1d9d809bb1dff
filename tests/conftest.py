"""Shared fixtures and the Hypothesis profile."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from client.config import SiteConfig
from federation.config import ModelChoice, RoundRules, StudyConfig
from federation.stages import FullStage, LoraStage
from model.arrays import Arrays, digest_arrays
from model.conditioning import FINDINGS, Metadata, Schema

if TYPE_CHECKING:
    from pydicom import FileDataset

    from client.tally import Tally
    from federation.plan import SignedPlan
    from model.manifest import Manifest
    from server.enrolment.authority import Authority
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
def toy_manifest(random_weights: Arrays) -> "Manifest":
    """Of the random weights as a model of a study, at the smallest side."""
    from model.config import model_config
    from model.manifest import Manifest

    return Manifest(
        model=model_config("tiny", IMAGE_SIZE),
        findings=FINDINGS,
        kind="full",
        adapter=None,
        study_name="toy",
        study_digest="0" * 64,
        rounds=1,
        sites=("a",),
        parent_digest=None,
        weights_digest=digest_arrays(random_weights),
    )


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


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> "Authority":
    """Signs plans in the tests."""
    from server.enrolment.authority import study_authority

    return study_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def plan_of(authority: "Authority") -> Callable[..., "SignedPlan"]:
    """Makes the signed plan of a study; keywords are what it says otherwise."""
    from federation.code_digest import installed_code
    from federation.plan import Plan, SignedPlan, plan_json

    installed = installed_code()

    def build(study: StudyConfig, **choices: Any) -> SignedPlan:  # noqa: ANN401
        usual: dict[str, Any] = {"code_digest": installed, "base_digest": "", "data_use": "tests"}
        usual |= {"ends": date(2999, 1, 1), "issued": 1}
        text = plan_json(Plan(study=study, **(usual | choices)))
        return SignedPlan(text=text, signature=authority.sign(text.encode()))

    return build


@pytest.fixture(scope="session")
def joined(authority: "Authority") -> Callable[[SiteConfig], SiteConfig]:
    """Makes a hospital one that knows the study authority, and whose policy allows everything."""

    def build(site: SiteConfig) -> SiteConfig:
        path = site.state_path.parent / "policy.yaml"
        path.write_text(
            f"data_set: {site.site_name}\nmax_epsilon: 10.0\ndelta: 1.0e-3\nmin_noise_multiplier: 0.5\n"
            "max_sample_rate: 1.0\nmax_local_steps: 100\nonly_private: false\nkinds: [full, lora]\n"
        )
        return replace(site, authority_path=authority.public_path, privacy_path=path)

    return build


def write_cache(path: Path, *, num_records: int, seed: int, key: bytes | None = None) -> None:
    """A cache of noise: two radiographs a patient, the last patient held out."""
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
    rows = np.tile(row, (num_records, 1))
    put_in_cache(
        path,
        images=images,
        rows=rows,
        patients=patients,
        held_out=held_out,
        findings=FINDINGS,
        tally=tally,
        key=key,
    )


def put_in_cache(
    path: Path,
    *,
    images: Iterable[NDArray[np.uint16]],
    rows: NDArray[np.float32],
    patients: NDArray[np.uint64],
    held_out: NDArray[np.bool_],
    findings: tuple[str, ...],
    tally: "Tally",
    key: bytes | None = None,
) -> None:
    """A cache of given records, as an ingest would leave it that read everything anew."""
    from client.cache.journal import RECORD, Entry
    from client.cache.stock import open_stock
    from client.cache.stock_writer import stock_writer
    from client.cache.writer import Contents, cache_lock, publish

    kept: list[Entry] = []
    pictures = list(images)
    with (
        cache_lock(path),
        open_stock(
            path, settings="", key=key, image_size=pictures[0].shape[-1], rebuild=True
        ) as stock,
    ):
        with stock_writer(stock, kept.extend) as writer:
            for number, image in enumerate(pictures):
                name = number.to_bytes(16, "big")
                writer.add(Entry(key=name, version=name, mirrored=True, outcome=RECORD), image)
        places = [entry.place for entry in kept if entry.place]
        shards = tuple(sorted({place.shard for place in places}))
        contents = Contents(
            rows=rows,
            patients=patients,
            held_out=held_out,
            shards=shards,
            places=np.array([(shards.index(p.shard), p.slot) for p in places], np.uint32),
            findings=findings,
            tally=tally,
        )
        publish(stock, contents)


@pytest.fixture(scope="session")
def fill_cache() -> Callable[..., None]:
    """Makes a cache of given records: images, rows, patients, held_out, findings, tally, key."""
    return put_in_cache


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
    from federation.stages import LocalTraining
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
    from server.countersign import Countersign, witness_key
    from server.export import export_models
    from server.rounds import Answered, Asked, Event, run_study
    from server.start import starting_weights
    from server.store import StudyStore
    from simulation.federate import write_profile
    from simulation.in_process import InProcess
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
                numbered = replace(
                    instruction,
                    site_number=store.number_site(site.site_name),
                    receipt=countersign.receipt_for(site.site_name),
                    witness_key=countersign.public_key,
                )
                yield Answered(site=site.site_name, answer=answer(site, numbered))

        store = StudyStore.create(layout.coordinator, study)
        countersign = Countersign(store=store, key=witness_key(layout.coordinator))
        with store.lock():
            export_models(store, run_study(store, InProcess(ask), starting_weights))
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


@pytest.fixture(scope="session")
def chest() -> NDArray[np.floating]:
    """A chest that does not exist, (96, 96) in [0, 1]."""
    from simulation.phantom import Phantom
    from simulation.style import STYLES

    return Phantom(96).render(
        findings={"cardiomegaly"},
        patient_seed=1,
        study_seed=1,
        sex="F",
        age=60,
        view="PA",
        style=STYLES["plain"],
    )


@pytest.fixture(scope="session")
def radiograph_of(chest: NDArray[np.floating]) -> Callable[..., "FileDataset"]:
    """Composes a file of the chest or of another picture; the other keywords are the machine's."""
    from simulation.dicom_writer import Machine, Study, build_radiograph

    def build(
        brightness: NDArray[np.floating] = chest,
        *,
        view: str = "PA",
        **choices: Any,  # noqa: ANN401
    ) -> "FileDataset":
        usual: dict[str, Any] = {"modality": "DX", "bits": 12, "photometric": "MONOCHROME2"}
        machine = Machine(manufacturer="AGFA", institution="SYN-A", **(usual | choices))
        taken = datetime(2024, 1, 1, tzinfo=UTC)
        study = Study(patient_id="SYN1", number=1, sex="F", age=60, view=view, taken=taken)
        return build_radiograph(brightness, machine, study)

    return build


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes a composed file; keywords replace header elements of what was written."""
    from pydicom import dcmread
    from pydicom.uid import UID, ExplicitVRLittleEndian

    from simulation.dicom_writer import write_radiograph

    def save(
        radiograph: "FileDataset", syntax: UID = ExplicitVRLittleEndian, **elements: object
    ) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.dcm"
        write_radiograph(path, radiograph, transfer_syntax=syntax)
        if elements:
            written = dcmread(path)
            for keyword, value in elements.items():
                setattr(written, keyword, value)
            written.save_as(path)
        return path

    return save

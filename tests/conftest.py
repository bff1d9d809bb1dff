"""Shared fixtures and the Hypothesis profile."""

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from datetime import date
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
from tests.fixtures.asking_clock import clock  # noqa: F401
from tests.fixtures.flower_task import inside_a_flower_task, outlives_its_parent  # noqa: F401
from tests.fixtures.gateway import gateway, gateway_of_module  # noqa: F401
from tests.fixtures.populations import caches, small_crowd  # noqa: F401
from tests.fixtures.radiographs import chest, radiograph_of, saved  # noqa: F401
from tests.fixtures.simulation import (  # noqa: F401
    federate_in_process,
    mini_plan,
    mini_simulation,
)

if TYPE_CHECKING:
    from client.tally import Tally
    from federation.plan import SignedPlan
    from model.manifest import Manifest
    from server.enrolment.authority import Authority

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("ci")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of programs start, all of the same files
if "PYTEST_XDIST_WORKER" in os.environ:
    # What is first imported inside a module whose types are checked is compiled anew, however large it is:
    # a process that is going to load everything loads the largest outside of them.
    import opacus.grad_sample  # noqa: F401
    import peft  # noqa: F401

IMAGE_SIZE = 16
MEMORY_DISK = Path("/dev/shm")  # noqa: S108  every file below it has a random name


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage neither while everything is loaded, which is for good, nor in it ever after."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


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

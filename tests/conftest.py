"""Shared fixtures and the Hypothesis profile."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from federation.config import (
    FullStage,
    LoraStage,
    ModelChoice,
    RoundRules,
    SiteConfig,
    StudyConfig,
)
from model.arrays import Arrays
from model.conditioning import FINDINGS, Metadata, Schema

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
    from client.cache_writer import cache_draft, publish
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

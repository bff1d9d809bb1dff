"""Making simulated hospitals: the same from the same plan, and continued where it was interrupted."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import simulation.prepare
from client.cache.records import open_cache, verify_cache
from simulation.config import SimulationConfig
from simulation.layout import Layout
from simulation.phantom_sites import PhantomSite, write_phantom_site
from simulation.prepare import prepare

pytestmark = pytest.mark.slow

Plan = Callable[..., SimulationConfig]
NAMES = ["hospital-a", "hospital-b"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Hospitals made once, for tests that only look."""

    layout: Layout
    names: list[str]
    said: list[str]

    def files(self) -> dict[str, bytes]:
        """Everything that was made, by place."""
        return contents(self.layout)


def contents(layout: Layout) -> dict[str, bytes]:
    return {
        str(path.relative_to(layout.out)): path.read_bytes()
        for path in sorted(layout.out.rglob("*"))
        if path.is_file()
    }


def prepared_in(folder: Path, plan: SimulationConfig) -> Prepared:
    said: list[str] = []
    layout = Layout(folder)
    return Prepared(layout, prepare(layout, plan, said.append), said)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, mini_plan: Plan) -> Prepared:
    return prepared_in(tmp_path_factory.mktemp("prepared"), mini_plan())


def test_every_hospital_gets_its_radiographs_and_a_whole_cache(prepared: Prepared) -> None:
    assert prepared.names == NAMES
    assert [line.split(": ")[0] for line in prepared.said] == [*NAMES, "held-out set"]
    assert prepared.said[0].startswith("hospital-a: 6 of 12 usable: ")
    assert prepared.said[2] == "held-out set: 5 of 5 usable"
    for name in NAMES:
        assert verify_cache(prepared.layout.cache(name)).num_records == 6
        assert len(list((prepared.layout.hospital(name) / "data" / "dicom").rglob("*.dcm"))) >= 6


def test_no_patient_of_one_hospital_is_in_another_or_held_out(prepared: Prepared) -> None:
    caches = [prepared.layout.cache(name) for name in NAMES]
    caches.append(prepared.layout.held_out / "state" / "cache")
    pictures = [{image.tobytes() for image in open_cache(cache).images} for cache in caches]
    assert sum(map(len, pictures)) == len(set.union(*pictures))


def test_two_runs_of_one_plan_give_the_same_caches(
    prepared: Prepared, mini_plan: Plan, memory_path: Path
) -> None:
    again = prepared_in(memory_path / "again", mini_plan())
    for name in NAMES:
        one, other = (open_cache(each.layout.cache(name)) for each in (prepared, again))
        np.testing.assert_array_equal(one.images[:], other.images[:])
        for field in ("rows", "patients", "held_out"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_what_is_there_is_not_made_again(prepared: Prepared, mini_plan: Plan) -> None:
    before = prepared.files()
    said: list[str] = []
    assert prepare(prepared.layout, mini_plan(), said.append) == NAMES
    assert said == []
    assert prepared.files() == before


def test_a_lost_cache_is_rebuilt_from_the_same_radiographs(
    prepared: Prepared, mini_plan: Plan, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(shutil.copytree(prepared.layout.out, memory_path / "out"))
    cache = layout.cache("hospital-a")
    images = open_cache(cache).images[:]
    cache.rename(layout.out / "lost")

    def never(*_: object) -> None:
        raise AssertionError("radiographs are written a second time")

    monkeypatch.setattr(simulation.prepare, "write_phantom_site", never)
    said: list[str] = []
    prepare(layout, mini_plan(), said.append)
    assert [line.split(": ")[0] for line in said] == ["hospital-a"]
    np.testing.assert_array_equal(open_cache(cache).images[:], images)


def test_radiographs_half_written_are_written_anew(
    memory_path: Path, mini_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(
        folder: Path, site: PhantomSite, findings: tuple[str, ...], image_size: int
    ) -> None:
        write_phantom_site(folder, site, findings, image_size)
        (folder / "leftover.dcm").write_bytes(b"")
        raise KeyboardInterrupt

    layout = Layout(memory_path)
    data = layout.hospital("hospital-a") / "data"
    with monkeypatch.context() as patch:
        patch.setattr(simulation.prepare, "write_phantom_site", break_off)
        with pytest.raises(KeyboardInterrupt):
            prepare(layout, mini_plan(), lambda _: None)
    assert not data.exists()
    assert data.with_name("data.part").exists()
    prepare(layout, mini_plan(), lambda _: None)
    assert not data.with_name("data.part").exists()
    assert not list(layout.out.rglob("leftover.dcm"))
    assert open_cache(layout.cache("hospital-a")).tally.num_files == 12

"""An imported set can be simulated: its folders become hospitals, with all that its tables tell."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from client.cache.records import open_cache
from model.conditioning import FINDINGS, RACES, SEXES, VIEWS, Schema
from simulation.config import FolderSet, SimulationConfig, load_simulation
from simulation.layout import Layout
from simulation.prepare import FolderMissing, prepare
from simulation.public_sets.catalogue import SETS
from simulation.public_sets.importing import ImportPlan, import_set
from simulation.public_sets.partition import Partition

pytestmark = pytest.mark.slow

COUNT = 8
TITLES = ("path_to_image", "frontal_lateral", "ap_pa", "race", "age", "sex")


@pytest.fixture
def imported(memory_path: Path) -> Path:
    """Hospitals by race, from noise in the layout of CheXpert Plus."""
    rng, rows, labels = np.random.default_rng(1), [], []
    source = memory_path / "source"
    for number in range(COUNT):
        path = f"train/patient{number}/study1/view1_frontal.png"
        race, sex = ("Asian", "Female") if number % 2 else ("White, Hispanic", "Male")
        rows.append((path.replace("png", "jpg"), "Frontal", "AP", race, 30 + number, sex))
        labels.append({"path_to_image": rows[-1][0], "Edema": 1.0, "Fracture": None})
        picture = source / "PNG" / path
        picture.parent.mkdir(parents=True)
        picture.write_bytes(
            imagecodecs.png_encode(rng.integers(0, 65535, (40, 40), dtype=np.uint16))
        )
    with (source / "df_chexpert_plus_240401.csv").open("w", newline="") as file:
        csv.writer(file).writerows([TITLES, *rows])
    lines = "\n".join(json.dumps(label) for label in labels)
    (source / "impression_fixed.json").write_text(lines)
    plan = ImportPlan(
        public_set=SETS["chexpert"], source=source, partition=Partition(by="race", held_out=0.2)
    )
    import_set(plan, memory_path / "out", on_progress=lambda _done, _total: None)
    return memory_path / "out"


def test_folders_become_caches_with_everything_that_the_tables_tell(
    imported: Path, memory_path: Path
) -> None:
    plan = load_simulation(imported / "simulation.yaml")
    layout, said = Layout(memory_path / "run"), list[str]()
    assert prepare(layout, plan, said.append) == ["race-asian", "race-white"]
    assert [line.split(" usable")[0] for line in said] == [
        "race-asian: 3 of 3",
        "race-white: 3 of 3",
        "held-out set: 2 of 2",
    ]
    rows = open_cache(layout.cache("race-asian")).rows
    told = dict(zip(Schema(FINDINGS).names, np.asarray(rows).T, strict=True))
    assert set(told["age"]) <= {31.0, 33.0, 35.0, 37.0}
    assert set(told["race"]) == {1 + RACES.index("asian")}
    assert set(told["sex"]) == {1 + SEXES.index("F")}
    assert set(told["view"]) == {1 + VIEWS.index("AP")}
    assert set(told["edema"]) == {2.0}  # present
    assert set(told["fracture"]) == {4.0}  # the report does not mention it
    assert set(told["support_devices"]) == {0.0}  # the table has no such column: unknown


def test_radiographs_that_exist_are_not_copied(imported: Path, memory_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in imported.rglob("*") if path.is_file()}
    layout = Layout(memory_path / "run")
    prepare(layout, load_simulation(imported / "simulation.yaml"), lambda _: None)
    copies = [path for path in layout.out.rglob("*.dcm") if not path.parent.is_symlink()]
    assert not [path for path in copies if path.resolve().is_relative_to(layout.out.resolve())]
    assert {p: p.stat().st_mtime_ns for p in imported.rglob("*") if p.is_file()} == before


def test_phantoms_may_be_judged_on_radiographs_of_a_folder(
    imported: Path, memory_path: Path, mini_plan: Callable[..., SimulationConfig]
) -> None:
    place = FolderSet(
        data_path=imported / "held-out" / "dicom", labels_path=imported / "held-out" / "labels.csv"
    )
    plan = replace(mini_plan(num_sites=1), held_out=place)
    said = list[str]()
    prepare(Layout(memory_path / "run"), plan, said.append)
    assert said[-1].startswith("held-out set: 2 of 2 usable")


def test_a_folder_that_is_not_there_is_named(imported: Path, memory_path: Path) -> None:
    plan = load_simulation(imported / "simulation.yaml")
    (imported / "race-white" / "labels.csv").unlink()
    with pytest.raises(FolderMissing, match=r"labels\.csv, which is not there: correct its path"):
        prepare(Layout(memory_path / "run"), plan, lambda _: None)

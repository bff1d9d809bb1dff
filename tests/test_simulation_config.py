"""The file that describes a simulation: what is checked, and what makes two simulations the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from federation.strict_yaml import ConfigError
from simulation.config import (
    FolderSet,
    FolderSite,
    HeldOutSet,
    SimulationConfig,
    load_simulation,
    simulation_digest,
)

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
Plan = Callable[..., SimulationConfig]


def test_the_demo_can_be_read() -> None:
    plan = load_simulation(DEMO)
    assert [site.name for site in plan.sites] == ["clinic", "intensive-care", "university"]
    assert plan.study.rounds.num_sites == 3


def test_what_shows_the_share_of_pooling_differs_in_its_hospitals_only() -> None:
    alike, different = (
        load_simulation(DEMO.with_name(f"{name}.yaml")) for name in ("iid", "non_iid")
    )
    first, *others = (replace(site, name="x", seed=0) for site in alike.phantoms)
    assert others == [first, first]
    assert replace(alike.study, name="x") == replace(different.study, name="x")
    assert len({site.prevalence["edema"] for site in alike.phantoms}) == 1
    assert len({site.style for site in different.phantoms}) == 3


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("held_out:", "hold_out: 3\nheld_out:", "  hold_out: Unexpected keyword argument"),
        (
            "    seed: 11",
            "    seed: 11\n    sead: 1",
            "  sites.0.phantom.sead: Unexpected keyword argument",
        ),
        ("seed: 99}", "seed: 99, x: 1}", "  held_out.phantom.x: Unexpected keyword argument"),
        ("  name: demo", "  name: demo\n  nam: x", "  study.nam: Unexpected keyword argument"),
        ("num_sites: 3", "num_sites: 4", "expects 4 sites, 3 are given"),
        ("name: clinic ", "name: university ", "two sites have the same name"),
        ("PA: 0.9, AP: 0.1}", "PA: 0.9}", "the shares of view_mix must sum to 1"),
        ("num_records: 168", "num_records: 0", "num_records is 0, it must be at least 1"),
        (
            "photometric: MONOCHROME1",
            "photometric: RGB",
            "  sites.1.phantom.photometric: Input should be",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    text = DEMO.read_text()
    assert text.count(old) == 1
    path = tmp_path / "demo.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_simulation(path)
    head, *problems = str(caught.value).splitlines()
    assert head == f"{path} cannot be used:"
    assert len(problems) == 1
    assert complaint in problems[0]


def test_the_digest_changes_with_everything_that_decides_the_result(mini_plan: Plan) -> None:
    plan = mini_plan()
    others = [
        mini_plan(seed=2),
        replace(plan, phantom_size=64),
        replace(plan, sites=(replace(plan.phantoms[0], age_mean=30.0), plan.sites[1])),
        replace(plan, held_out=HeldOutSet(num_records=5, seed=8)),
    ]
    digests = {simulation_digest(each) for each in [plan, *others]}
    assert len(digests) == 5
    assert simulation_digest(mini_plan()) == simulation_digest(plan)


STUDY = """
study:
  name: toy
  seed: 1
  model: {size: tiny, image_size: 16}
  rounds: {num_sites: 2, min_sites: 2}
  stages: [{kind: full, num_rounds: 1, local: {local_steps: 1, batch_size: 1, learning_rate: 0.01}}]
"""
FOLDERS = """
sites:
  - {name: north, data_path: north/dicom, labels_path: north/labels.csv}
  - {name: south, data_path: /south, labels_path: labels.csv}
held_out: {data_path: aside, labels_path: aside.csv}
"""


def folders_in(folder: Path, text: str) -> Path:
    (folder / "plan.yaml").write_text(STUDY + text)
    return folder / "plan.yaml"


def test_hospitals_may_be_folders_that_lie_beside_the_file(tmp_path: Path) -> None:
    plan = load_simulation(folders_in(tmp_path, FOLDERS))
    north, south = plan.sites
    assert north == FolderSite(
        name="north",
        data_path=tmp_path / "north" / "dicom",
        labels_path=tmp_path / "north" / "labels.csv",
    )
    assert isinstance(south, FolderSite)
    assert south.data_path == Path("/south")
    assert plan.held_out == FolderSet(
        data_path=tmp_path / "aside", labels_path=tmp_path / "aside.csv"
    )
    assert plan.judged_on == "held-out radiographs"
    assert simulation_digest(plan) == simulation_digest(replace(plan))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("data_path: /south,", "data_path: /south, seed: 1,", "sites.1.folder.seed: Unexpected"),
        ("name: north", "name: North", "sites.0.folder.name: String should match"),
        (
            "{data_path: aside, labels_path: aside.csv}",
            "{num_records: 3, seed: 1}",
            "needs a hospital of phantoms",
        ),
    ],
)
def test_a_mistake_in_a_folder_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert FOLDERS.count(old) == 1
    with pytest.raises(ConfigError, match=complaint):
        load_simulation(folders_in(tmp_path, FOLDERS.replace(old, new)))

"""Counts before a study over a real federation: one hospital shares, one does not, one stays away."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
import yaml

from federation.config import parse_study
from federation.node_keys import make_node_key, publish_public_key
from federation.processes import Supervisor
from simulation.config import HeldOutSet, SimulationConfig
from simulation.federate import (
    start_coordinator,
    start_hospital,
    wait_for_hospitals,
    write_profile,
)
from simulation.hospitals import example_sites
from simulation.layout import Layout
from simulation.prepare import prepare

pytestmark = [pytest.mark.federation, pytest.mark.slow]

IMAGE_SIZE = 16
ABSENT = "hospital-z"
STUDY = {
    "name": "toy",
    "seed": 5,
    "model": {"size": "tiny", "image_size": IMAGE_SIZE},
    "rounds": {"num_sites": 2, "min_sites": 1},
    "stages": [
        {
            "kind": "full",
            "num_rounds": 1,
            "local": {"local_steps": 1, "batch_size": 1, "learning_rate": 0.1},
        }
    ],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Federation:
    """A coordinator with a study, and three hospitals in its roster."""

    layout: Layout
    study_path: Path
    shares: str
    silent: str


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    root = tmp_path_factory.mktemp("counts")
    layout, study_path = Layout(root / "out"), root / "study.yaml"
    study_path.write_text(yaml.safe_dump(STUDY))
    plan = SimulationConfig(
        study=parse_study(json.dumps(STUDY)),
        sites=tuple(example_sites(2, num_records=24, seed=3)),
        held_out=HeldOutSet(num_records=2, seed=1),
        phantom_size=64,
    )
    shares, silent = prepare(layout, plan, lambda _: None)
    with Supervisor() as supervisor:
        endpoint = start_coordinator(supervisor, layout)
        for name in (shares, silent):
            write_profile(
                layout, name, image_size=IMAGE_SIZE, port=endpoint.port, ca_path=endpoint.ca_path
            )
        profile = yaml.safe_load(layout.profile(shares).read_text())
        policy = {"share": True, "min_cell": 5, "epsilon": 50.0, "max_pairs": 2}
        layout.profile(shares).write_text(yaml.safe_dump(profile | {"statistics": policy}))
        key = make_node_key(root / "z", ABSENT)
        publish_public_key(key, layout.coordinator / "roster" / f"{ABSENT}.pub")
        for name in (shares, silent):
            start_hospital(supervisor, layout, name)
        wait_for_hospitals(supervisor, layout, [shares, silent])
        yield Federation(layout=layout, study_path=study_path, shares=shares, silent=silent)


def test_the_command_prints_who_shares_and_keeps_every_patient_out_of_it(
    federation: Federation, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    layout = federation.layout
    code, out, err = fedcxr(
        "coordinator", "statistics", federation.study_path, "--state", layout.coordinator
    )
    assert (code, err) == (0, "")
    head, first, *_ = out.splitlines()
    assert head.split() == [federation.shares, federation.silent, ABSENT, "sum"]
    name, given, *others = first.split()
    assert (name, others) == ("patients", ["not", "shared", "no", "answer", given])
    (kept,) = (layout.hospital(federation.shares) / "state" / "statistics").glob("*.json")
    assert json.loads(kept.read_text())["num_patients"] == int(given) > 10
    assert len(json.loads(kept.read_text())["pairs"]) > 0
    assert " of 39 tables of two attributes" in out
    assert f"{federation.silent}: not shared: " in out
    assert f"{ABSENT}: no answer: " in out
    assert not (layout.hospital(federation.silent) / "state" / "statistics").exists()
    assert_nothing_of_a_patient_in(layout.coordinator, layout)


def assert_nothing_of_a_patient_in(folder: Path, layout: Layout) -> None:
    """No name, identifier or file name of either hospital in any byte that the coordinator keeps."""
    planted = set()
    for path in layout.out.glob("hospitals/*/data/dicom/**/*.dcm"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        found = {str(header.get(key, "")) for key in ("PatientID", "PatientName", "SOPInstanceUID")}
        planted |= {word.encode() for word in found if len(word) > 5}
    assert len(planted) > 60
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert any(b"num_patients" in content for content in kept)
    for word in planted:
        assert not any(word in content for content in kept)

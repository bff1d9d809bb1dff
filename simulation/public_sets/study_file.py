"""The simulation that an import makes possible, as a file to start from."""

from collections.abc import Sequence
from pathlib import Path

from federation.files import write_file
from federation.strict_yaml import dump_yaml
from simulation.public_sets.partition import HELD_OUT
from simulation.public_sets.record import PublicSet

SIMULATION = "simulation.yaml"


def write_simulation(out: Path, public_set: PublicSet, sites: Sequence[str]) -> None:
    """Write `simulation.yaml`, unless it is there: a person may have changed it."""
    if (out / SIMULATION).exists():
        return
    heading = [
        f"# Hospitals of {public_set.title}. {public_set.terms}",
        "# Paths are relative to this file. The study is a small one to start with: change it at will.",
    ]
    text = "\n".join(heading) + "\n\n" + dump_yaml(_content(public_set, sites))
    write_file(out / SIMULATION, text.encode())


def _content(public_set: PublicSet, sites: Sequence[str]) -> dict[str, object]:
    local = {"local_steps": 60, "batch_size": 8, "learning_rate": 3.0e-3}
    return {
        "study": {
            "name": public_set.name,
            "seed": 1,
            "model": {"size": "tiny", "image_size": 64},
            "rounds": {
                "num_sites": len(sites),
                "min_sites": min(len(sites), max(2, len(sites) - 1)),
                "deadline_seconds": 600,
            },
            "stages": [{"kind": "full", "num_rounds": 8, "local": local}],
        },
        "sites": [{"name": site, **_paths(site)} for site in sites],
        "held_out": _paths(HELD_OUT),
    }


def _paths(folder: str) -> dict[str, str]:
    return {"data_path": f"{folder}/dicom", "labels_path": f"{folder}/labels.csv"}

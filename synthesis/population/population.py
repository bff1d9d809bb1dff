"""A label model of named hospitals, as a file that can be handed on with a model."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.files import write_file
from model.label_model.graph import Graph
from model.label_model.label_model import LabelModel, Law
from model.label_model.tables import Arrow

FORMAT = "fedcxr population 1"


class NoPopulation(ValueError):
    """Not a file that ``fedcxr population fit`` wrote."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} is no population ({why}): make one with `fedcxr population fit COUNTS.json -o {path.name}`"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What a hospital's part was made from."""

    num_patients: int
    """As it said, rounded or noised."""
    min_cell: int
    """Smaller counts were withheld."""
    epsilon: float | None
    """Its counts were this differentially private for one patient; None: they carried no noise."""
    is_exact: bool
    """Whether it was counted from the hospital's own cache, which protects nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Which labels go together in which hospital, and how its reports put them."""

    findings: tuple[str, ...]
    """The study's."""
    model: LabelModel
    """Of demographics, view, maker, hospital, and which findings are present."""
    habits: Mapping[str, NDArray[np.float64]]
    """Finding -> (hospital, 2): of the present, the share that is called uncertain; of the others, the share that is
    not mentioned."""
    counted: Mapping[str, NDArray[np.float64]]
    """Attribute that follows a rule -> (hospital, value): the shares that hospitals counted, to hold the rule against."""
    kept: Mapping[Arrow, float]
    """Arrow -> part of the counted association that chance and noise do not explain."""
    hospitals: Mapping[str, Source]


def save_population(path: Path, population: Population) -> None:
    """Write as JSON, in one step."""
    graph = population.model.graph
    content = {
        "format": FORMAT,
        "findings": population.findings,
        "hospitals": {name: asdict(source) for name, source in population.hospitals.items()},
        "values": graph.values,
        "parents": graph.parents,
        "none_of": sorted(graph.none_of),
        "laws": {
            name: {"base": law.base.tolist(), "effects": _lists(law.effects)}
            for name, law in population.model.laws.items()
        },
        "habits": _lists(population.habits),
        "counted": _lists(population.counted),
        "kept": [[parent, child, part] for (parent, child), part in population.kept.items()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(content, indent=1).encode())


def load_population(path: Path) -> Population:
    """Read what `save_population` wrote.

    Raises:
        NoPopulation: it is something else, or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise NoPopulation(path, str(err.strerror)) from err
    except (UnicodeDecodeError, json.JSONDecodeError) as err:
        raise NoPopulation(path, "it is not JSON") from err
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise NoPopulation(path, f"it does not begin with {FORMAT!r}")
    try:
        return _population(content)
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise NoPopulation(path, "a part of it is missing or malformed") from err


def _population(content: dict[str, Any]) -> Population:
    graph = Graph(
        values={name: tuple(words) for name, words in content["values"].items()},
        parents={name: tuple(parents) for name, parents in content["parents"].items()},
        none_of=frozenset(content["none_of"]),
    )
    laws = {
        name: Law(base=np.array(law["base"], np.float64), effects=_arrays(law["effects"]))
        for name, law in content["laws"].items()
    }
    return Population(
        findings=tuple(content["findings"]),
        model=LabelModel(graph=graph, laws=laws),
        habits=_arrays(content["habits"]),
        counted=_arrays(content["counted"]),
        kept={(parent, child): float(part) for parent, child, part in content["kept"]},
        hospitals={name: Source(**fields) for name, fields in content["hospitals"].items()},
    )


def _lists(arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, object]:
    return {name: array.tolist() for name, array in arrays.items()}


def _arrays(lists: Mapping[str, object]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(values, np.float64) for name, values in lists.items()}

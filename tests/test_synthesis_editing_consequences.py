"""What follows from an edit, as a label model says."""

from pathlib import Path

import numpy as np
import pytest

from federation.statistics import AGES, PRESENCE
from model.conditioning import Schema
from model.label_model.graph import Graph
from model.label_model.label_model import LabelModel, Law
from synthesis.editing.consequences import Consequences, consequences_of
from synthesis.generation.wish import Value
from synthesis.population.conditions import UnknownAttribute
from synthesis.population.population import Population, Source, save_population

SCHEMA = Schema()
CERTAIN = 30.0
"""Log-odds that chance does not turn."""


@pytest.fixture
def population(tmp_path: Path) -> Path:
    """From eighty on everybody has a large heart, and nobody before; fractures are for women."""
    findings = ("cardiomegaly", "fracture")
    old = np.arange(len(AGES)) >= 8
    model = LabelModel(
        graph=Graph(
            values={
                "site": ("a",),
                "age": AGES,
                "sex": ("F", "M"),
                **dict.fromkeys(findings, PRESENCE),
            },
            parents={
                "site": (),
                "age": ("site",),
                "sex": ("site",),
                "cardiomegaly": ("age",),
                "fracture": ("sex",),
            },
        ),
        laws={
            "site": Law(base=np.zeros(1)),
            "age": Law(base=np.zeros(len(AGES))),
            "sex": Law(base=np.zeros(2)),
            "cardiomegaly": Law(
                base=np.zeros(2),
                effects={"age": np.outer(np.where(old, CERTAIN, -CERTAIN), [-1.0, 1.0])},
            ),
            "fracture": Law(
                base=np.zeros(2), effects={"sex": CERTAIN * np.array([[-1.0, 1.0], [1.0, -1.0]])}
            ),
        },
    )
    path = tmp_path / "population.json"
    nobody = Source(num_patients=1, min_cell=1, epsilon=None, is_exact=False)
    habits = {name: np.zeros((1, 2)) for name in findings}
    found = Population(
        findings=findings, model=model, habits=habits, counted={}, kept={}, hospitals={"a": nobody}
    )
    save_population(path, found)
    return path


def follows(
    population: Path, known: dict[str, Value], edits: dict[str, Value], seed: int = 0
) -> Consequences:
    return consequences_of(population, known, edits, SCHEMA, {"a": 1}, seed=seed)


KNOWN: dict[str, Value] = {"age": 40.0, "sex": "M", "view": "PA"}


def test_age_reaches_what_it_acts_on_and_nothing_else(population: Path) -> None:
    found = follows(population, KNOWN, {"age": 90.0})
    assert found.before == {"cardiomegaly": "absent"}
    assert found.after == {"cardiomegaly": "present"}


def test_what_is_known_of_the_radiograph_is_what_changes(population: Path) -> None:
    known = KNOWN | {"cardiomegaly": "not_mentioned"}
    assert follows(population, known, {"age": 90.0}).before == {"cardiomegaly": "not_mentioned"}


def test_an_effect_has_no_effect_on_its_cause(population: Path) -> None:
    found = follows(population, KNOWN, {"cardiomegaly": "present"})
    assert not found.before
    assert not found.after


def test_what_is_set_is_not_overruled(population: Path) -> None:
    edits: dict[str, Value] = {"age": 90.0, "cardiomegaly": "absent"}
    assert not follows(population, KNOWN, edits).after


def test_an_attribute_that_the_label_model_does_not_have_is_refused(population: Path) -> None:
    with pytest.raises(UnknownAttribute, match="'view' is nothing this population knows"):
        follows(population, KNOWN, {"view": "AP"})

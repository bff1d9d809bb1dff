"""A population is learned from what hospitals count: rounded, noised or withheld, and refused where there is nothing."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import server.gathering
from client.cache.records import open_cache
from client.config import StatisticsPolicy
from client.statistics import count, with_pairs
from federation.label_graph import load_label_graph, pairs_of
from model.conditioning import FINDINGS
from synthesis.population.ask import sample
from synthesis.population.population import load_population
from tests.toys.population import DEVICES, Command, Refused, share, there

pytestmark = pytest.mark.usefixtures("small_crowd")


def as_the_coordinator_prints(
    fedcxr: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caches: dict[str, Path],
    policy: StatisticsPolicy,
) -> Path:  # fmt: skip
    """Both hospitals' answers under a policy, through the coordinator's command."""
    pairs = pairs_of(load_label_graph(None, FINDINGS), FINDINGS)
    records = {name: open_cache(path) for name, path in caches.items()}
    answers = {n: with_pairs(count(r, policy), r, policy, pairs) for n, r in records.items()}
    monkeypatch.setattr(server.gathering, "gather", lambda *_, **__: answers)
    _, out, _ = fedcxr(
        "coordinator", "statistics", "configs/demo.yaml", "--state", tmp_path, "--json"
    )
    path = tmp_path / "counts.json"
    path.write_text(out)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [None, 30.0])
def test_counts_that_were_rounded_withheld_or_noised_still_tell_what_goes_together(
    fedcxr: Command,
    caches: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epsilon: float | None,
) -> None:
    monkeypatch.setattr(
        "federation.config.load_study", lambda _: SimpleNamespace(name="toy", findings=FINDINGS)
    )
    policy = StatisticsPolicy(share=True, epsilon=epsilon, max_pairs=39)
    counts, out = (
        as_the_coordinator_prints(fedcxr, monkeypatch, tmp_path, caches, policy),
        tmp_path / "p.json",
    )
    code, said, err = fedcxr("population", "fit", counts, "-o", out)
    assert (code, err) == (0, "")
    assert said.startswith("clinic, ward: ")
    population, rng = load_population(out), np.random.default_rng(0)
    given, free = (
        sample(population, 2000, {"site": "ward", "edema": word}, rng=rng)
        for word in ("present", "absent")
    )
    assert there(given, DEVICES) - there(free, DEVICES) == pytest.approx(0.7, abs=0.2)
    assert share(given, "view", "AP") - share(free, "view", "AP") == pytest.approx(0.56, abs=0.2)


def test_a_hospital_that_withholds_everything_is_passed_over(
    fedcxr: Command,
    refused: Refused,
    caches: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "federation.config.load_study", lambda _: SimpleNamespace(name="toy", findings=FINDINGS)
    )
    policy = StatisticsPolicy(share=True, min_cell=50)
    counts = as_the_coordinator_prints(fedcxr, monkeypatch, tmp_path, caches, policy)
    content = json.loads(counts.read_text())
    content["hospitals"]["ward"]["counts"]["patients"]["all"] = None
    counts.write_text(json.dumps(content))
    code, out, err = fedcxr("population", "fit", counts, "-o", tmp_path / "p.json", "--json")
    assert (code, err) == (0, "")
    assert list(json.loads(out)["hospitals"]) == ["clinic"]
    content["hospitals"]["clinic"]["counts"]["patients"]["all"] = None
    counts.write_text(json.dumps(content))
    message = refused("population", "fit", counts, "-o", tmp_path / "p.json")
    assert message.startswith("no hospital gave enough counts to learn from")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "counts or caches are needed, and not both: give the counts' JSON file"),
        (("--real", "here"), "'here' says no hospital's name"),
        (("counts.json",), "cannot be used (No such file or directory): type `fedcxr coordinator"),
    ],
)
def test_fitting_to_nothing_is_refused(
    refused: Refused, tmp_path: Path, words: tuple[str, ...], expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert expected in refused("population", "fit", *words)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "no", '{"findings": ["edema"], "hospitals": {"a": {"state": "shared"}}}']
)
def test_a_file_that_is_no_counts_is_refused(refused: Refused, tmp_path: Path, text: str) -> None:
    path = tmp_path / "counts.json"
    path.write_text(text)
    assert "it is not what the coordinator prints" in refused("population", "fit", path)

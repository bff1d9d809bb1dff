"""What a simulation says at its end: the truth in both directions, and commands that can be typed."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from simulation.compare import Comparison
from simulation.summary import Summary

ALONE = {"north": 0.50, "south": 0.40}


def summary(*, federated: float, adapted: float | None = None) -> Summary:
    comparison = Comparison(
        untrained=1.0, federated=federated, adapted=adapted, alone=ALONE, pooled=0.20
    )
    return Summary(name="toy", out=Path("/out"), seconds=61.26, comparison=comparison)


def test_a_federation_that_paid_says_so() -> None:
    better = summary(federated=0.30)
    assert "25.0 % lower than that of the best hospital alone (south)" in better.verdict()
    assert "50 % of the way to pooling" in better.verdict()
    assert better.beats_best_alone


def test_a_federation_that_did_not_pay_says_so_too() -> None:
    worse = summary(federated=0.44)
    assert "10.0 % higher than that of the best hospital alone (south)" in worse.verdict()
    assert "-20 % of the way to pooling" in worse.verdict()
    assert not worse.beats_best_alone


def test_better_than_the_worst_hospital_only_is_not_better_than_the_best() -> None:
    assert not summary(federated=0.45).beats_best_alone


@pytest.mark.parametrize("adapted", [None, 0.25])
def test_every_model_stands_in_the_text_best_first(adapted: float | None) -> None:
    ended = summary(federated=0.30, adapted=adapted)
    names = ["pooled data", "federated, with adapter", "federated", "south alone", "north alone"]
    names = [name for name in names if adapted or "adapter" not in name]
    assert [name for name, _ in ended.rows()] == [*names, "before training"]
    lines = ended.text().splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("    0.")] == names
    assert ended.verdict() in lines
    for name in ("report.html", "samples.png"):
        assert f"  /out/{name}" in lines


def test_facts_are_plain_numbers() -> None:
    facts = json.loads(json.dumps(summary(federated=0.30).facts()))
    assert facts["losses"] == {
        "untrained": 1.0,
        "federated": 0.3,
        "adapted": None,
        "alone": ALONE,
        "pooled": 0.2,
    }
    assert (facts["name"], facts["out"], facts["seconds"]) == ("toy", "/out", 61.3)
    assert facts["federated_beats_best_alone"] is True
    assert facts["share_of_pooled_gain"] == pytest.approx(0.875)
    assert facts["share_of_way_to_pooled"] == pytest.approx(
        (min(ALONE.values()) - 0.3) / (min(ALONE.values()) - 0.2)
    )


def test_pooling_that_is_no_better_than_the_best_hospital_is_no_goal() -> None:
    comparison = replace(summary(federated=0.30).comparison, pooled=0.45)
    assert comparison.share_of_way_to_pooled is None
    verdict = replace(summary(federated=0.30), comparison=comparison).verdict()
    assert verdict.endswith("alone (south).")
    assert "pooling" not in verdict


def test_the_next_command_names_the_adapter_only_if_there_is_one() -> None:
    with_adapter = shlex.split(summary(federated=0.3, adapted=0.2).next_commands()[0])
    without = shlex.split(summary(federated=0.3).next_commands()[0])
    assert with_adapter[:4] == ["generate", "/out/model", "--adapter", "/out/adapter"]
    assert without[:2] == ["generate", "/out/model"]
    assert "--adapter" not in without

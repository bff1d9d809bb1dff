"""A plan before a study: true numbers, no empty promises, and words for people who decide."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.config import StudyConfig
from federation.planning.cli import app
from federation.planning.parameters import num_trained
from federation.planning.plan import Circumstances, Plan, make_plan
from federation.planning.spending import phases_of, with_noise
from federation.planning.table import facts, render
from federation.planning.verdict import is_useful, verdict
from federation.privacy_terms import PrivacyTerms
from federation.stages import FullStage, LocalTraining, LoraStage
from model.arrays import Arrays
from privacy.accounting.epsilon import ADJACENCY, epsilon
from privacy.accounting.phase import Phase

StudyOf = Callable[..., StudyConfig]
DELTA = 1e-6
TERMS = PrivacyTerms(noise_multiplier=2.0, sample_rate=0.05, max_grad_norm=1.0)
OPEN = LocalTraining(local_steps=10, batch_size=250, learning_rate=1e-3)
PRIVATE = replace(OPEN, privacy=TERMS)
FULL = FullStage(kind="full", num_rounds=4, local=PRIVATE)
LORA = LoraStage(kind="lora", num_rounds=6, local=PRIVATE, rank=2, alpha=2.0, rule="alternate")
HOSPITALS = Circumstances(num_patients=5000, num_sites=4, delta=DELTA)
STUDY = """
name: toy
seed: 1
model: {size: tiny, image_size: 32}
rounds: {num_sites: 3, min_sites: 2}
stages:
  - kind: full
    num_rounds: 4
    local:
      local_steps: 10
      batch_size: 250
      learning_rate: 1.0e-3
      privacy: {noise_multiplier: 2.0, sample_rate: 0.05, max_grad_norm: 1.0}
"""


@pytest.fixture
def study(study_of: StudyOf) -> StudyConfig:
    return study_of(FULL, LORA)


def texts(plan: Plan) -> str:
    return "\n".join(verdict(plan))


def test_everything_trains_in_a_full_stage(study: StudyConfig, random_weights: Arrays) -> None:
    assert num_trained(study, 0) == sum(array.size for array in random_weights.values())


def test_the_rule_alternate_trains_the_larger_half_of_an_adapter_at_a_time(
    study_of: StudyOf,
) -> None:
    width, hidden = study_of(FULL).model_config.dim, study_of(FULL).model_config.hidden_dim
    one_target = replace(LORA, targets=("w3",))
    alternate = study_of(FULL, one_target)
    whole = study_of(FULL, replace(one_target, rule="product-svd"))
    depth = alternate.model_config.depth
    assert num_trained(alternate, 1) == 2 * depth * max(hidden, width)
    assert num_trained(whole, 1) == 2 * depth * (hidden + width)


def test_a_plan_charges_the_study_as_a_whole_and_each_stage_alone(study: StudyConfig) -> None:
    plan = make_plan(study, HOSPITALS)
    steps = [Phase(noise_multiplier=2.0, sample_rate=0.05, num_steps=n) for n in (40, 60, 100)]
    alone = [epsilon([each], DELTA).value for each in steps]
    assert [each.epsilon for each in plan.private_steps] == alone[:2]
    assert plan.spending.value == alone[2]
    assert max(alone[:2]) < plan.spending.value < sum(alone[:2])


def test_a_loss_that_leaves_costs_extra(study_of: StudyOf) -> None:
    local = replace(PRIVATE, privacy=replace(TERMS, loss_noise_multiplier=6.0))
    (silent,) = make_plan(study_of(FULL), HOSPITALS).private_steps
    (told,) = make_plan(study_of(replace(FULL, local=local)), HOSPITALS).private_steps
    assert told.charged_noise_multiplier == pytest.approx((1 / 4 + 2 / 36) ** -0.5)
    assert told.epsilon > silent.epsilon


def test_noise_is_set_against_the_patients_drawn_and_falls_with_the_root_of_hospitals(
    study: StudyConfig,
) -> None:
    (first, _) = make_plan(study, HOSPITALS).private_steps
    assert first.expected_patients == 250.0
    assert first.noise_to_signal == pytest.approx(2.0 * math.sqrt(num_trained(study, 0)) / 250)
    assert first.mean_noise_to_signal == pytest.approx(first.noise_to_signal / 2)


def test_a_larger_divisor_alone_takes_no_noise_away(study_of: StudyOf) -> None:
    divided = study_of(replace(FULL, local=replace(PRIVATE, batch_size=1000)))
    (usual,), (more,) = (
        make_plan(each, HOSPITALS).private_steps for each in (study_of(FULL), divided)
    )
    assert more.noise_to_signal == usual.noise_to_signal
    sentence = "Stage 1 draws 250.0 patients per step and divides by 1000"
    assert sentence in texts(make_plan(divided, HOSPITALS))
    assert "divides by" not in texts(make_plan(study_of(FULL), HOSPITALS))


def test_one_stage_without_privacy_leaves_no_guarantee(study_of: StudyOf) -> None:
    mixed = make_plan(study_of(replace(FULL, local=OPEN), LORA), HOSPITALS)
    assert facts(mixed)["guarantee"] is False
    assert verdict(mixed)[0].startswith("No guarantee: stage 1 trains without privacy")
    assert "no guarantee" in render(mixed)
    assert "the stages with privacy together" in render(mixed)


def test_a_study_without_privacy_gets_no_epsilon(study_of: StudyOf) -> None:
    none = make_plan(study_of(replace(FULL, local=OPEN)), HOSPITALS, [8.0])
    assert none.targets == ()
    assert "together: epsilon" not in render(none)
    assert facts(none)["useful"] is None


@pytest.mark.slow
def test_a_wanted_epsilon_gets_the_noise_that_gives_it_with_what_was_spent(
    study: StudyConfig,
) -> None:
    supposed = replace(HOSPITALS, spent=1.0)
    plan = make_plan(study, supposed, [4.0, 0.9])
    found, impossible = plan.targets
    reached = epsilon(phases_of(with_noise(study, found.noise_multiplier)), DELTA).value + 1.0
    assert 3.98 < reached <= 4.0
    ratio = found.noise_multiplier / TERMS.noise_multiplier
    worst = max(each.noise_to_signal for each in plan.private_steps)
    assert found.noise_to_signal == pytest.approx(worst * ratio)
    assert math.isinf(impossible.noise_multiplier)
    assert plan.total_epsilon == plan.spending.value + 1.0
    assert "none suffices" in render(plan)


@pytest.mark.parametrize(
    ("num_patients", "expected"), [(900, (False, True)), (1000, (True, False))]
)
def test_few_patients_and_a_small_epsilon_are_called_useless(
    study_of: StudyOf, num_patients: int, expected: tuple[bool, bool]
) -> None:
    terms = replace(TERMS, noise_multiplier=4.0, sample_rate=0.02)
    small = replace(LORA, local=replace(PRIVATE, batch_size=20, privacy=terms))
    crowd = replace(HOSPITALS, num_patients=num_patients, num_sites=100_000)
    plan = make_plan(study_of(replace(FULL, local=small.local), small), crowd)
    assert plan.total_epsilon < 3.0
    assert (is_useful(plan), "fewer than 1,000 patients" in texts(plan)) == expected


def test_drowned_training_is_called_useless_with_what_would_help(study: StudyConfig) -> None:
    lone = make_plan(study, replace(HOSPITALS, num_sites=1))
    assert not is_useful(lone)
    told = texts(lone)
    assert "Not useful: the noise is" in told
    for help_wanted in ("fewer trained parameters", "more patients per step", "more hospitals"):
        assert f"What would help: {help_wanted}" in told
    assert is_useful(make_plan(study, replace(HOSPITALS, num_sites=100_000)))


def test_the_number_of_hospitals_said_to_suffice_does(study: StudyConfig) -> None:
    told = texts(make_plan(study, replace(HOSPITALS, num_sites=1)))
    (enough,) = (line.split("About ")[1] for line in told.splitlines() if "About " in line)
    num_sites = int(enough.split(" like")[0].replace(",", ""))
    assert "Feasible" in texts(make_plan(study, replace(HOSPITALS, num_sites=num_sites)))
    assert "Feasible" not in texts(make_plan(study, replace(HOSPITALS, num_sites=num_sites - 1)))


def test_no_epsilon_is_told_without_delta_and_adjacency(study: StudyConfig) -> None:
    plan = make_plan(study, HOSPITALS)
    assert render(plan).count(ADJACENCY) == 2
    assert render(plan).count("delta 1e-06") == 2
    told = json.loads(json.dumps(facts(plan), allow_nan=False))
    assert told["adjacency"] == ADJACENCY
    assert told["circumstances"]["delta"] == DELTA


def test_facts_are_json_even_where_an_epsilon_is_infinite(study_of: StudyOf) -> None:
    loud = study_of(
        replace(FULL, local=replace(PRIVATE, privacy=replace(TERMS, noise_multiplier=1e-200)))
    )
    plan = make_plan(loud, HOSPITALS)
    assert json.loads(json.dumps(facts(plan), allow_nan=False))["epsilon"] is None
    assert "every hospital will refuse" in texts(plan)


@pytest.fixture
def study_path(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def test_the_command_takes_the_number_of_hospitals_from_the_study(study_path: Path) -> None:
    shown = CliRunner().invoke(app, ["plan", str(study_path), "--patients", "4000", "--json"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.output)
    assert told["circumstances"] == {
        "num_patients": 4000,
        "num_sites": 3,
        "delta": 1e-6,
        "spent": 0.0,
    }
    assert told["stages"][0]["private"]["expected_patients"] == 200.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--delta", "0.001"], "too large"),
        (["--delta", "-1"], "above 0"),
        (["--epsilon", "nan"], "finite"),
        (["--patients", "1"], "1 is not"),
        (["--spent", "inf"], "finite"),
    ],
)
def test_the_command_ends_a_mistake_with_a_sentence_and_exit_code_2(
    study_path: Path, words: list[str], sentence: str
) -> None:
    shown = CliRunner().invoke(app, ["plan", str(study_path), *words])
    assert shown.exit_code == 2
    assert sentence in " ".join(shown.output.split())

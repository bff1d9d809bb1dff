"""The hospital's own bounds: what a study may ask for, and what is refused in one sentence."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from client.privacy_policy import (
    PrivacyPolicy,
    ledger_of,
    load_policy,
    why_delta_refused,
    why_refused,
)
from federation.planning.spending import charged_phase
from federation.privacy_terms import PrivacyTerms
from federation.stages import FullStage, LocalTraining, LoraStage
from federation.strict_yaml import ConfigError
from privacy.accounting.epsilon import combined_noise
from privacy.accounting.phase import Phase

POLICY = PrivacyPolicy(
    data_set="archive",
    max_epsilon=8.0,
    delta=1e-5,
    min_noise_multiplier=0.8,
    max_sample_rate=0.1,
    max_local_steps=50,
    max_rounds=10,
    targets=("qkv", "proj"),
    bases=("b" * 64,),
)
TERMS = PrivacyTerms(noise_multiplier=0.8, sample_rate=0.1, max_grad_norm=1.0)
LOCAL = LocalTraining(local_steps=50, batch_size=64, learning_rate=1e-3, privacy=TERMS)
STAGE = LoraStage(
    kind="lora", num_rounds=10, local=LOCAL, rank=4, alpha=4.0, targets=("qkv", "proj")
)
FULL = FullStage(kind="full", num_rounds=10, local=LOCAL)
EXAMPLE = Path(__file__).parents[1] / "configs" / "privacy.example.yaml"


def refusal(
    *,
    stage: LoraStage | FullStage = STAGE,
    terms: PrivacyTerms | None = TERMS,
    base_digest: str = "b" * 64,
    **other_policy: Any,  # noqa: ANN401
) -> str | None:
    """What the hospital says."""
    policy = replace(POLICY, **other_policy)
    return why_refused(policy, stage, terms, base_digest=base_digest)


def test_a_study_at_every_bound_is_allowed() -> None:
    assert refusal() is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"noise_multiplier": 0.79}, "asks for a noise multiplier of 0.8, the study's is 0.79"),
        ({"sample_rate": 0.11}, "allows sample_rate up to 0.1, the study asks for 0.11"),
        ({"max_images": 2}, "allows max_images up to 1, the study asks for 2"),
        ({"max_grad_norm": 1e-40}, "allows max_grad_norm from 1e-06 to 1e+06"),
        ({"max_grad_norm": 1e37}, "allows max_grad_norm from 1e-06 to 1e+06"),
        ({"max_loss": 1e-40}, "allows max_loss from 1e-06 to 1e+06"),
        ({"noise_multiplier": 2.0, "loss_noise_multiplier": 50.0}, "does not let a loss leave"),
    ],
)
def test_terms_beyond_a_bound_are_refused(change: dict[str, Any], why: str) -> None:
    sentence = refusal(terms=replace(TERMS, **change))
    assert sentence is not None
    assert sentence.startswith(f"the hospital's privacy policy {why}")
    assert sentence.endswith(": its data-protection officer decides")


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        (
            replace(STAGE, local=replace(LOCAL, local_steps=51)),
            "allows local_steps up to 50, the study asks for 51",
        ),
        (replace(STAGE, num_rounds=11), "allows num_rounds up to 10, the study asks for 11"),
        (FULL, "does not allow stages of kind full"),
        (replace(STAGE, targets=("qkv", "w12", "w3")), "does not allow adapters on w12, w3"),
    ],
)
def test_a_stage_beyond_a_bound_is_refused(stage: LoraStage | FullStage, why: str) -> None:
    assert why in str(refusal(stage=stage))


def test_training_without_privacy_is_refused_unless_the_policy_allows_it() -> None:
    assert "does not allow training without differential privacy" in str(refusal(terms=None))
    assert refusal(terms=None, only_private=False) is None
    too_long = replace(STAGE, num_rounds=11)
    assert "allows num_rounds up to 10" in str(
        refusal(stage=too_long, terms=None, only_private=False)
    )


def test_only_the_named_frozen_models_may_be_adapted() -> None:
    assert "does not name the frozen model cccccccccccc among" in str(refusal(base_digest="c" * 64))
    assert refusal(base_digest="c" * 64, bases=None) is None
    assert refusal(stage=FULL, base_digest="", kinds=("full",)) is None


def test_a_noised_loss_is_charged_with_the_step_and_counts_against_the_noise_that_is_asked_for() -> (
    None
):
    with_loss = replace(TERMS, loss_noise_multiplier=8.0)
    assert charged_phase(TERMS, 50) == Phase(noise_multiplier=0.8, sample_rate=0.1, num_steps=50)
    noise = charged_phase(with_loss, 50).noise_multiplier
    assert noise == combined_noise(0.8, 8.0, 8.0) < 0.8
    assert "asks for a noise multiplier of 0.8" in str(refusal(terms=with_loss, noised_loss=True))
    assert refusal(terms=replace(with_loss, noise_multiplier=0.9), noised_loss=True) is None


@pytest.mark.parametrize(
    ("num_patients", "fits"), [(99_999, True), (100_000, False), (400_000, False)]
)
def test_a_delta_at_or_above_one_in_all_patients_is_refused_without_their_number(
    num_patients: int,
    fits: bool,  # noqa: FBT001
) -> None:
    sentence = why_delta_refused(POLICY, num_patients)
    assert (sentence is None) == fits
    assert str(num_patients) not in str(sentence)
    assert "1e-05" not in str(sentence)


def test_the_example_is_a_policy_and_its_comments_are_the_defaults() -> None:
    policy = load_policy(EXAMPLE)
    required = {
        "data_set",
        "max_epsilon",
        "delta",
        "min_noise_multiplier",
        "max_sample_rate",
        "max_local_steps",
    }
    given = {name: getattr(policy, name) for name in required}
    assert replace(policy, ledger_path=Path("privacy.ledger")) == PrivacyPolicy(**given)
    for field in fields(PrivacyPolicy):
        assert f"{field.name}:" in EXAMPLE.read_text()


def test_the_ledger_lies_beside_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(EXAMPLE.read_text())
    assert load_policy(path).ledger_path == tmp_path / "privacy.ledger"
    path.write_text(EXAMPLE.read_text() + "ledger_path: kept/archive.ledger\n")
    policy = load_policy(path)
    with ledger_of(policy) as ledger:
        assert (ledger.cap, ledger.book.data_set) == (policy.max_epsilon, policy.data_set)
    assert (tmp_path / "kept" / "archive.ledger").exists()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("delta: 1.0", "delta 1 must be below 1"),
        ("max_sample_rate: 0.0", "max_sample_rate must be above 0"),
        ("max_epsilon: .inf", "max_epsilon"),
        ("min_noise_multiplier: 0", "min_noise_multiplier"),
        ("data_set: ../archive", "data_set"),
        ("max_epsilons: 9", "max_epsilons"),
    ],
)
def test_a_policy_with_a_mistake_is_refused(tmp_path: Path, line: str, why: str) -> None:
    key = line.partition(":")[0]
    lines = [each for each in EXAMPLE.read_text().splitlines() if not each.startswith(f"{key}:")]
    path = tmp_path / "policy.yaml"
    path.write_text("\n".join([*lines, line]))
    with pytest.raises(ConfigError, match=why):
        load_policy(path)

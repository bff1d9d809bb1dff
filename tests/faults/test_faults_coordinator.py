"""A coordinator that asks for what nobody agreed to: the hospital refuses through its own entry point, and its log shows it.

Every message is one that Flower would hand on, every plan is signed by the authority that the hospital trusts unless the
drill is about that, and everything is the program of production. Nothing may train, and nothing may be fetched.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict

import client.rounds
from client.app import app
from client.config import SiteConfig
from client.evidence.log import Entry, Event, entries, verify
from client.plans.approving import approve
from client.plans.gate import arrive, why_not
from federation.config import StudyConfig, study_json
from federation.messages import Instruction, Refusal, RefusalCode
from federation.plan import SignedPlan
from federation.privacy_terms import PrivacyTerms
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining, LoraStage
from federation.strict_yaml import dump_yaml
from federation.wire.rounds import pack_instruction, unpack_answer
from model.adapter import adapter_shapes
from model.arrays import Arrays, digest_arrays
from server.enrolment.authority import study_authority

pytestmark = pytest.mark.usefixtures("inside_a_flower_task", "outlives_its_parent")

StudyOf = Callable[..., StudyConfig]
PlanOf = Callable[..., SignedPlan]

TERMS = PrivacyTerms(noise_multiplier=2.0, sample_rate=0.5, max_grad_norm=0.1)
LOCAL = LocalTraining(local_steps=2, batch_size=2, learning_rate=1e-3, privacy=TERMS)
ADAPTED = LoraStage(kind="lora", num_rounds=2, local=LOCAL, rank=2, alpha=2.0)
FULL = FullStage(kind="full", num_rounds=2, local=LOCAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hospital:
    """One that approved a study of an adapter, and the honest instruction for its first round."""

    site: SiteConfig
    profile: Path
    study: StudyConfig
    plan: SignedPlan
    honest: Instruction

    def hears(self, instruction: Instruction) -> Refusal:
        """What the coordinator gets for an instruction that must be refused."""
        context = Context(1, 7, {"site": str(self.profile)}, RecordDict(), {})
        reply = app(Message(pack_instruction(instruction), 7, "train"), context)
        answer = unpack_answer(reply.content)
        assert isinstance(answer, Refusal), answer
        return answer

    def refuses(self, instruction: Instruction, code: RefusalCode, words: str) -> Refusal:
        """Refused for this, under this plan, and the very same stands in the log, once, however often it is asked."""
        found = self.hears(instruction)
        assert (found.code, words in found.reason) == (code, True), found
        assert replace(self.hears(instruction), log=None) == replace(found, log=None)
        kind = Event.PLAN_REFUSED if code is RefusalCode.PLAN else Event.ROUND_REFUSED
        last, *others = reversed(self.entries(kind))
        assert last.facts["reason"] == found.reason[:200]
        assert last.facts["round"] == instruction.round_number
        assert last.plan == (instruction.plan.digest if instruction.plan else "")
        assert last.facts.get("code", RefusalCode.PLAN) == code
        assert last.facts not in [each.facts for each in others if each.plan == last.plan]
        assert not self.entries(Event.CHANGE_MADE)
        return found

    def entries(self, event: Event) -> list[Entry]:
        """What the hospital's log says of one kind; it is whole."""
        assert verify(self.site.state_path) == ()
        return [each for each in entries(self.site.state_path) if each.event == event]


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, ever."""
    for name in ("train_here", "train_in_private", "train_together"):
        monkeypatch.setattr(client.rounds, name, None)


@pytest.fixture
def site(
    make_hospital: Callable[..., SiteConfig],
    joined: Callable[[SiteConfig], SiteConfig],
    memory_path: Path,
) -> SiteConfig:
    return joined(make_hospital(memory_path))


@pytest.fixture
def hospital(
    site: SiteConfig, study_of: StudyOf, plan_of: PlanOf, random_weights: Arrays
) -> Hospital:
    profile = site.state_path.parent / "site.yaml"
    names = ("site_name", "coordinator", "ca_path", "data_path", "state_path", "image_size")
    paths = ("authority_path", "privacy_path")
    content = {name: str(getattr(site, name)) for name in (*names, *paths)}
    profile.write_text(dump_yaml(content | {"image_size": site.image_size}))
    study = starting_from(study_of, random_weights)
    plan = plan_of(study, base_digest=study.model.start, issued=100)
    arrive(site, plan)
    approve(site, plan.digest, name="Dr Example")
    shapes = adapter_shapes(study.model_config, ADAPTED.adapter)
    adapter = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    honest = Instruction(
        study=study_json(study),
        round_number=1,
        weights=inline_shipment(adapter),
        base=inline_shipment(random_weights),
        plan=plan,
    )
    return Hospital(site=site, profile=profile, study=study, plan=plan, honest=honest)


def starting_from(study_of: StudyOf, weights: Arrays, stage: LoraStage = ADAPTED) -> StudyConfig:
    """A study of an adapter on a model that exists."""
    usual = study_of(FULL)
    model = replace(usual.model, start=digest_arrays(weights))
    return replace(usual, model=model, stages=(stage,))


def with_local(study: StudyConfig, **changes: object) -> StudyConfig:
    """The study with another local training."""
    (stage,) = study.stages
    return replace(
        study,
        stages=(replace(stage, local=replace(stage.local, **changes)),),  # type: ignore[arg-type]
    )


def test_a_program_that_is_not_installed_here_is_refused(
    hospital: Hospital, plan_of: PlanOf
) -> None:
    base = hospital.study.model.start
    other = plan_of(hospital.study, base_digest=base, code_digest="e" * 64, issued=200)
    asked = replace(hospital.honest, plan=other)
    hospital.refuses(asked, RefusalCode.PLAN, "made for the program eeeeeeee")


def test_another_frozen_model_is_refused(hospital: Hospital, random_weights: Arrays) -> None:
    swapped = {name: values + np.float32(1) for name, values in random_weights.items()}
    for base in (inline_shipment(swapped), None):
        asked = replace(hospital.honest, base=base)
        hospital.refuses(asked, RefusalCode.PLAN, "another frozen model")


def test_another_frozen_model_than_the_first_that_the_study_made_is_refused(
    hospital: Hospital, study_of: StudyOf, plan_of: PlanOf, random_weights: Arrays
) -> None:
    study = study_of(FULL, ADAPTED)
    plan = plan_of(study, issued=100)
    arrive(hospital.site, plan)
    approve(hospital.site, plan.digest, name="Dr Example")
    honest = replace(hospital.honest, study=study_json(study), plan=plan, round_number=3)
    assert why_not(hospital.site, honest) is None
    swapped = {name: values + np.float32(1) for name, values in random_weights.items()}
    asked = replace(honest, base=inline_shipment(swapped), round_number=4)
    hospital.refuses(asked, RefusalCode.PLAN, "under this plan stage 2 began with")


@pytest.mark.parametrize(
    "change",
    [
        {"privacy": replace(TERMS, noise_multiplier=0.1)},
        {"privacy": None},
        {"local_steps": 99},
        {"learning_rate": 1.0},
    ],
    ids=["lowered-sigma", "no-privacy", "raised-steps", "learning-rate"],
)
def test_a_study_that_was_changed_under_an_approved_plan_is_refused(
    hospital: Hospital, change: dict[str, object]
) -> None:
    worse = study_json(with_local(hospital.study, **change))
    asked = replace(hospital.honest, study=worse)
    hospital.refuses(asked, RefusalCode.PLAN, "another study than its plan")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"privacy": replace(TERMS, noise_multiplier=0.1)}, "asks for a noise multiplier of 0.5"),
        ({"local_steps": 999}, "allows local_steps up to 100"),
    ],
    ids=["lowered-sigma", "raised-steps"],
)
def test_an_honestly_signed_plan_with_less_privacy_waits_and_then_meets_the_policy(
    hospital: Hospital, plan_of: PlanOf, change: dict[str, object], words: str
) -> None:
    worse = with_local(hospital.study, **change)
    plan = plan_of(worse, base_digest=hospital.study.model.start, issued=200)
    asked = replace(hospital.honest, study=study_json(worse), plan=plan)
    assert hospital.hears(asked).code == RefusalCode.UNAPPROVED
    assert plan.digest in [each.plan for each in hospital.entries(Event.PLAN_ARRIVED)]
    approve(hospital.site, plan.digest, name="Dr Example")
    hospital.refuses(asked, RefusalCode.POLICY, words)


def test_a_plan_nobody_signed_is_refused(
    hospital: Hospital, plan_of: PlanOf, tmp_path: Path
) -> None:
    stranger = study_authority(tmp_path)
    text = plan_of(hospital.study, base_digest=hospital.study.model.start, issued=300).text
    plans = [
        replace(hospital.plan, text=text),
        SignedPlan(text=text, signature=stranger.sign(text.encode())),
        SignedPlan(text=text, signature=b""),
    ]
    for plan in plans:
        hospital.refuses(replace(hospital.honest, plan=plan), RefusalCode.PLAN, "not signed")


def test_an_instruction_without_a_plan_is_refused(hospital: Hospital) -> None:
    asked = replace(hospital.honest, plan=None)
    hospital.refuses(asked, RefusalCode.PLAN, "came without a plan")


def test_an_older_plan_is_refused_once_a_later_one_was_approved(
    hospital: Hospital, plan_of: PlanOf
) -> None:
    later = plan_of(hospital.study, base_digest=hospital.study.model.start, issued=200)
    arrive(hospital.site, later)
    approve(hospital.site, later.digest, name="Dr Other")
    hospital.refuses(hospital.honest, RefusalCode.PLAN, "older than the one")


def test_a_plan_that_ended_is_refused_although_it_was_approved(
    hospital: Hospital, plan_of: PlanOf
) -> None:
    base = hospital.study.model.start
    over = plan_of(hospital.study, base_digest=base, ends=date(2020, 1, 2), issued=200)
    asked = replace(hospital.honest, plan=over)
    hospital.refuses(asked, RefusalCode.PLAN, "ended on 2020-01-02")


@pytest.mark.parametrize("number", [0, 3, 10**6])
def test_rounds_beyond_the_plan_are_refused(hospital: Hospital, number: int) -> None:
    asked = replace(hospital.honest, round_number=number)
    hospital.refuses(asked, RefusalCode.PLAN, "the plan has 2 rounds")


def test_a_hospital_without_a_policy_file_refuses(hospital: Hospital) -> None:
    assert hospital.site.privacy_path is not None
    hospital.site.privacy_path.unlink()
    asked = hospital.honest
    assert hospital.hears(asked).code == RefusalCode.POLICY
    (entry,) = hospital.entries(Event.PLAN_REFUSED)
    assert "has no policy file" in str(entry.facts["reason"])


def adapter_of(hospital: Hospital) -> dict[str, np.ndarray]:
    shapes = adapter_shapes(hospital.study.model_config, ADAPTED.adapter)
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def spoil_name(adapter: dict[str, np.ndarray]) -> None:
    adapter["blocks.0.attention.evil.lora_A.weight"] = np.zeros((2, 2), np.float32)


def spoil_shape(adapter: dict[str, np.ndarray]) -> None:
    name = min(adapter)
    adapter[name] = np.zeros((1, 1), np.float32)


def spoil_missing(adapter: dict[str, np.ndarray]) -> None:
    del adapter[min(adapter)]


def spoil_values(adapter: dict[str, np.ndarray]) -> None:
    adapter[min(adapter)][...] = np.nan


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (spoil_name, RefusalCode.TENSORS),
        (spoil_shape, RefusalCode.TENSORS),
        (spoil_missing, RefusalCode.TENSORS),
        (spoil_values, RefusalCode.NOT_FINITE),
    ],
    ids=["unknown-tensor", "another-shape", "missing-tensor", "not-finite"],
)
def test_a_crafted_adapter_trains_nothing_and_costs_nothing(
    hospital: Hospital, spoil: Callable[[dict[str, np.ndarray]], None], code: RefusalCode
) -> None:
    adapter = adapter_of(hospital)
    spoil(adapter)
    asked = replace(hospital.honest, weights=inline_shipment(adapter))
    found = hospital.refuses(asked, code, "")
    assert "evil" not in found.reason
    assert not (hospital.profile.parent / "privacy.ledger").exists()

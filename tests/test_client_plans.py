"""Plans at a hospital: they arrive, a person looks through them and agrees by digest, and nothing counts by itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import client
from client.config import SiteConfig
from client.evidence.log import Event, entries, verify
from client.plans.approving import NoName, NotApproved, approve
from client.plans.gate import arrive, why_not, why_not_delivered
from client.plans.review import review, review_text
from client.plans.store import (
    NoSuchPlan,
    approval_of_study,
    approvals,
    find_plan,
    kept_plans,
    plan_to_review,
    take_back,
)
from client.refused import NotTaken
from federation.config import StudyConfig, study_digest, study_json
from federation.messages import DeliveryRequest, Instruction, RefusalCode, Shipment, Ticket
from federation.plan import SHOWN_DIGITS, SignedPlan
from federation.privacy_terms import PrivacyTerms
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining, LoraStage
from federation.strict_yaml import dump_yaml

PlanOf = Callable[..., SignedPlan]
Command = Callable[..., tuple[int, str, str]]
LOCAL = LocalTraining(local_steps=3, batch_size=1, learning_rate=1e-3)
FULL = FullStage(kind="full", num_rounds=2, local=LOCAL)
TERMS = PrivacyTerms(noise_multiplier=2.0, sample_rate=0.5, max_grad_norm=0.1)
PRIVATE = replace(FULL, local=replace(LOCAL, privacy=TERMS))
LORA = LoraStage(kind="lora", num_rounds=4, local=LOCAL, rank=2, alpha=2.0)
NOTHING = inline_shipment({})


@pytest.fixture
def site(joined: Callable[[SiteConfig], SiteConfig], tmp_path: Path) -> SiteConfig:
    """One without a radiograph: plans are not about them."""
    return joined(
        SiteConfig(
            site_name="st-mary",
            coordinator="localhost:1",
            ca_path=tmp_path / "ca.crt",
            data_path=tmp_path / "data",
            state_path=tmp_path / "state",
            image_size=16,
        )
    )


@pytest.fixture
def profile(site: SiteConfig, tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    names = ("site_name", "coordinator", "ca_path", "data_path", "state_path")
    content = {
        name: str(getattr(site, name)) for name in (*names, "authority_path", "privacy_path")
    }
    path.write_text(dump_yaml(content | {"image_size": site.image_size}))
    return path


@pytest.fixture
def study(study_of: Callable[..., StudyConfig]) -> StudyConfig:
    return study_of(FULL)


def asks(study: StudyConfig, plan: SignedPlan) -> Instruction:
    return Instruction(study=study_json(study), round_number=1, weights=NOTHING, plan=plan)


def code_of(site: SiteConfig, instruction: Instruction) -> RefusalCode | None:
    refusal = why_not(site, instruction)
    return None if refusal is None else refusal.code


def test_a_plan_waits_until_a_named_person_agrees_to_it(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf
) -> None:
    plan = plan_of(study)
    for _ in range(3):
        assert code_of(site, asks(study, plan)) == RefusalCode.UNAPPROVED
    _, approval = approve(site, plan.digest, name=" Dr Example ")
    assert (approval.name, approval.digest) == ("Dr Example", plan.digest)
    assert code_of(site, asks(study, plan)) is None
    found = [(each.event, each.actor, each.plan) for each in entries(site.state_path)]
    assert found == [
        (Event.PLAN_ARRIVED, "coordinator", plan.digest),
        (Event.PLAN_APPROVED, "Dr Example", plan.digest),
    ]
    assert verify(site.state_path) == ()


def test_agreeing_to_a_later_plan_takes_back_the_earlier_one(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf
) -> None:
    first, second = plan_of(study, issued=1), plan_of(study, issued=2, data_use="more")
    for plan in (first, second):
        assert code_of(site, asks(study, plan)) == RefusalCode.UNAPPROVED
        approve(site, plan.digest, name="Dr Example")
    assert [each.digest for each in approvals(site.state_path)] == [second.digest]
    assert code_of(site, asks(study, first)) == RefusalCode.PLAN
    assert code_of(site, asks(study, second)) is None


def test_a_frozen_model_made_in_the_study_stays_the_first_that_came_until_another_plan_is_approved(
    site: SiteConfig, study_of: Callable[..., StudyConfig], plan_of: PlanOf
) -> None:
    study = study_of(FULL, LORA)
    first, second = plan_of(study, issued=1), plan_of(study, issued=2)
    frozen, other = (inline_shipment({"b": np.full(2, value, np.float32)}) for value in (1, 2))

    def asked(plan: SignedPlan, number: int, base: Shipment | None) -> RefusalCode | None:
        return code_of(site, replace(asks(study, plan), round_number=number, base=base))

    assert asked(first, 3, other) == RefusalCode.UNAPPROVED  # nobody agreed yet: it settles nothing
    approve(site, first.digest, name="Dr Example")
    assert (
        asked(first, 3, None) is None
    )  # refused later, as it names none; it settles nothing either
    assert asked(first, 3, frozen) is None
    assert asked(first, 4, frozen) is None
    assert asked(first, 4, other) == RefusalCode.PLAN
    assert asked(first, 3, other) == RefusalCode.PLAN
    (refusal,) = {
        each.facts["reason"] for each in entries(site.state_path) if "reason" in each.facts
    }
    assert "stage 2 began with the frozen model" in str(refusal)
    arrive(site, second)
    approve(site, second.digest, name="Dr Example")
    assert asked(second, 4, other) is None
    assert asked(second, 4, frozen) == RefusalCode.PLAN


def test_studies_are_approved_one_by_one(
    site: SiteConfig, study_of: Callable[..., StudyConfig], plan_of: PlanOf
) -> None:
    one, other = study_of(FULL, seed=1), study_of(FULL, seed=2)
    arrive(site, plan_of(one))
    approve(site, plan_of(one).digest, name="Dr Example")
    assert code_of(site, asks(one, plan_of(one))) is None
    assert code_of(site, asks(other, plan_of(other))) == RefusalCode.UNAPPROVED


def test_a_withdrawal_takes_back_one_study_or_all(
    site: SiteConfig, study_of: Callable[..., StudyConfig], plan_of: PlanOf
) -> None:
    studies = [study_of(FULL, seed=seed) for seed in (1, 2)]
    for study in studies:
        arrive(site, plan_of(study))
        approve(site, plan_of(study).digest, name="Dr Example")
    first, second = map(study_digest, studies)
    assert [each.study_digest for each in take_back(site.state_path, first)] == [first]
    assert approval_of_study(site.state_path, first) is None
    assert approval_of_study(site.state_path, second) is not None
    assert len(take_back(site.state_path)) == 1
    assert code_of(site, asks(studies[1], plan_of(studies[1]))) == RefusalCode.UNAPPROVED


def test_a_finished_update_stays_once_its_approval_was_withdrawn(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf
) -> None:
    ticket = Ticket(links=("/x",), token="", expires=1)
    request = DeliveryRequest(
        study_digest=study_digest(study),
        round_number=1,
        parcel_digest="0" * 64,
        shards=(0,),
        ticket=ticket,
    )
    arrive(site, plan_of(study))
    approve(site, plan_of(study).digest, name="Dr Example")
    assert why_not_delivered(site, request) is None
    take_back(site.state_path, study_digest(study))
    refusal = why_not_delivered(site, request)
    assert refusal is not None
    assert refusal.code == RefusalCode.UNAPPROVED


def test_without_a_policy_file_nothing_is_trained_but_the_plan_can_be_read(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf
) -> None:
    plan, bare = plan_of(study), replace(site, privacy_path=None)
    assert code_of(bare, asks(study, plan)) == RefusalCode.POLICY
    approve(bare, plan.digest, name="Dr Example")
    assert code_of(bare, asks(study, plan)) == RefusalCode.POLICY
    assert site.privacy_path is not None
    site.privacy_path.unlink()
    assert code_of(site, asks(study, plan)) == RefusalCode.POLICY


@pytest.mark.parametrize("missing", ["unset", "no-file"])
def test_without_the_authoritys_key_no_plan_is_believed(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf, tmp_path: Path, missing: str
) -> None:
    path = None if missing == "unset" else tmp_path / "nowhere.pub"
    refusal = why_not(replace(site, authority_path=path), asks(study, plan_of(study)))
    assert refusal is not None
    assert refusal.code == RefusalCode.PLAN
    assert "authority_path" in refusal.reason
    assert str(tmp_path) not in refusal.reason
    assert kept_plans(site.state_path) == []


def test_a_plan_that_ended_since_it_arrived_cannot_be_approved(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(study)
    arrive(site, plan)
    monkeypatch.setattr("client.plans.gate.installed_code", lambda: "e" * 64)
    with pytest.raises(NotApproved, match="made for the program"):
        approve(site, plan.digest, name="Dr Example")
    monkeypatch.undo()
    with pytest.raises(NotTaken, match="ended on 2020-01-01"):
        arrive(site, plan_of(study, ends=date(2020, 1, 1)))
    assert approvals(site.state_path) == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "Dr\nExample"])
def test_nobody_cannot_agree(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf, name: str
) -> None:
    arrive(site, plan_of(study))
    with pytest.raises(NoName):
        approve(site, plan_of(study).digest, name=name)
    assert approvals(site.state_path) == []


def test_a_plan_is_named_by_enough_of_its_digest(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf
) -> None:
    digest = plan_of(study).digest
    arrive(site, plan_of(study))
    assert find_plan(site.state_path, digest[:SHOWN_DIGITS]).digest == digest
    for wrong in (digest[: SHOWN_DIGITS - 1], "", "0" * 64):
        with pytest.raises(NoSuchPlan):
            find_plan(site.state_path, wrong)


def test_a_coordinator_that_sends_plan_after_plan_fills_no_disk(
    site: SiteConfig,
    study_of: Callable[..., StudyConfig],
    plan_of: PlanOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.plans.store.MAX_PENDING", 3)
    approved = plan_of(study_of(FULL, seed=0))
    arrive(site, approved)
    approve(site, approved.digest, name="Dr Example")
    for issued in range(3):
        arrive(site, plan_of(study_of(FULL), issued=issued))
    assert len(kept_plans(site.state_path)) == 2
    for seed in range(2, 7):
        arrive(site, plan_of(study_of(FULL, seed=seed)))
    kept = kept_plans(site.state_path)
    assert len(kept) == 3 + 1
    assert find_plan(site.state_path, approved.digest).approval is not None


def test_a_review_tells_what_differs_from_what_was_approved(
    site: SiteConfig, study: StudyConfig, plan_of: PlanOf
) -> None:
    first = plan_of(study, issued=1)
    arrive(site, first)
    assert review(site, plan_to_review(site.state_path)).differs is None
    approve(site, first.digest, name="Dr Example")
    more = replace(study, stages=(replace(FULL, num_rounds=9),))
    arrive(site, plan_of(more, data_use="two things", issued=2))
    found = review(site, plan_to_review(site.state_path))
    assert found.differs == ("data_use: tests -> two things", "study.stages.1.num_rounds: 2 -> 9")


def test_a_review_tells_what_would_leave_and_what_the_policy_says(
    site: SiteConfig, study_of: Callable[..., StudyConfig], plan_of: PlanOf
) -> None:
    arrive(site, plan_of(study_of(FULL, LORA)))
    open_one = review(replace(site, share_counts=True), plan_to_review(site.state_path))
    first, second, last = open_one.leaves
    assert "stage 1, 2 times: the change of 589,408 weights, 2.4 MB" in first
    assert "two mean losses" in first
    assert "the numbers of files" in first
    assert "stage 2, 4 times" in second
    assert last.startswith("no radiograph")
    assert open_one.against == ()
    assert "To agree" in review_text(open_one)
    arrive(site, plan_of(study_of(PRIVATE), issued=9))
    private = review(site, plan_to_review(site.state_path))
    assert "loss" not in private.leaves[0]
    quiet = replace(TERMS, noise_multiplier=0.1)
    loud = replace(FULL, local=replace(LOCAL, local_steps=999, privacy=quiet))
    arrive(site, plan_of(study_of(loud), issued=10))
    refused = review(site, find_plan(site.state_path, plan_of(study_of(loud), issued=10).digest))
    assert "local_steps up to 100" in refused.against[0]
    assert "the hospital's cap is 10.00" in refused.against[1]
    assert "To agree" not in review_text(refused)


def test_a_hospital_without_a_plan_says_what_to_do(
    profile: Path, refused: Callable[..., str]
) -> None:
    assert "no plan has arrived" in refused("hospital", "review", profile)
    words = ("hospital", "approve", "0" * SHOWN_DIGITS, profile, "--name", "Dr Example")
    assert "names no plan" in refused(*words)


def test_a_person_types_review_approve_and_plans(
    site: SiteConfig, profile: Path, study: StudyConfig, plan_of: PlanOf, fedcxr: Command
) -> None:
    plan = plan_of(study)
    arrive(site, plan)
    code, out, _ = fedcxr("hospital", "review", profile)
    assert code == 0
    typed = f'fedcxr hospital approve {plan.digest[:SHOWN_DIGITS]} --name "Dr ..."'
    assert typed in out
    assert "nothing was approved here before" in out
    facts = json.loads(fedcxr("hospital", "review", profile, "--json")[1])
    assert (facts["digest"], facts["approved_by"]) == (plan.digest, None)
    assert "waits for approval" in fedcxr("hospital", "plans", profile)[1]
    short = plan.digest[:SHOWN_DIGITS]
    code, out, _ = fedcxr("hospital", "approve", short, profile, "--name", "Dr Example")
    assert (code, f"Dr Example approved plan {plan.digest}" in out) == (0, True)
    assert "stands against" not in out
    listed = json.loads(fedcxr("hospital", "plans", profile, "--json")[1])
    assert [each["approved_by"] for each in listed["plans"]] == ["Dr Example"]


def test_whoever_approves_hears_what_still_stands_against_the_plan(
    site: SiteConfig,
    profile: Path,
    study_of: Callable[..., StudyConfig],
    plan_of: PlanOf,
    fedcxr: Command,
) -> None:
    plan = plan_of(study_of(replace(PRIVATE, local=replace(PRIVATE.local, local_steps=999))))
    arrive(site, plan)
    words = ("hospital", "approve", plan.digest[:SHOWN_DIGITS], profile, "--name", "Dr Example")
    code, out, _ = fedcxr(*words)
    assert (code, "Dr Example approved plan" in out) == (0, True)
    _, still, reason, *_ = out.splitlines()
    assert still == "What still stands against it here, so that its rounds are refused:"
    assert "local_steps up to 100" in reason
    assert "local_steps up to 100" in json.loads(fedcxr(*words, "--json")[1])["against"][0]


def test_only_the_entry_point_behind_the_gate_can_have_a_round_trained() -> None:
    root = Path(client.__file__).parent
    callers = [path for path in root.rglob("*.py") if "rounds import answer" in path.read_text()]
    assert callers == [root / "app.py"]
    entry = callers[0].read_text()
    assert entry.count("answer(site, instruction)") == 1
    assert "why_not(site, instruction) or answer(site, instruction)" in entry

"""What a real round leaves in a hospital's evidence, and that nothing leaves where the evidence cannot be written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from client.config import SiteConfig
from client.evidence import log
from client.evidence.check import check
from client.evidence.log import Event, log_path
from client.evidence.receipts import kept_receipts
from client.plans.approving import approve
from client.plans.gate import arrive
from client.rounds import answer
from federation.config import StudyConfig, study_json
from federation.messages import Instruction, Refusal, RefusalCode, Update
from federation.node_keys import make_node_key, read_public_key
from federation.plan import SignedPlan
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining
from federation.update_signature import is_signed
from model.arrays import Arrays

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1e-3)
FULL = FullStage(kind="full", num_rounds=2, local=LOCAL)


@pytest.fixture
def site(
    make_hospital: Callable[..., SiteConfig],
    joined: Callable[[SiteConfig], SiteConfig],
    memory_path: Path,
) -> SiteConfig:
    return joined(make_hospital(memory_path, num_records=4))


@pytest.fixture
def asked(
    study_of: Callable[..., StudyConfig],
    plan_of: Callable[..., SignedPlan],
    random_weights: Arrays,
) -> Instruction:
    study = study_of(FULL, num_sites=1, min_sites=1)
    weights = inline_shipment(random_weights)
    return Instruction(
        study=study_json(study), round_number=1, weights=weights, plan=plan_of(study)
    )


@pytest.fixture
def update(site: SiteConfig, asked: Instruction) -> Update:
    assert asked.plan is not None
    arrive(site, asked.plan)
    approve(site, asked.plan.digest, name="Dr Example")
    found = answer(site, asked)
    assert isinstance(found, Update)
    return found


def events(site: SiteConfig) -> list[str]:
    return [str(entry.event) for entry in log.entries(site.state_path)]


def test_a_round_is_on_record_from_the_question_to_the_receipt(
    site: SiteConfig, asked: Instruction, update: Update
) -> None:
    assert asked.plan is not None
    assert events(site) == [
        *("plan-arrived", "plan-approved"),
        *("policy-changed", "round-asked", "change-made", "change-left"),
    ]
    assert {entry.plan for entry in log.entries(site.state_path)[3:]} == {asked.plan.digest}
    (kept,) = kept_receipts(site.state_path)
    said = kept.receipt
    assert (said.study_digest, said.round_number) == (update.study_digest, 1)
    assert said.parcel_digest == update.change.digest
    assert (said.norm, said.num_bytes) == (update.norm, update.change.num_bytes)
    assert said.plan_digest == asked.plan.digest
    assert said.epsilon is None
    public = read_public_key(make_node_key(site.state_path, site.site_name).public_path)
    assert is_signed(update, public, plan_digest=asked.plan.digest)
    assert check(site.state_path).problems == ()


def test_asked_again_the_record_stays_as_it_is(
    site: SiteConfig, asked: Instruction, update: Update
) -> None:
    before = log_path(site.state_path).read_bytes()
    assert answer(site, asked) == update
    assert log_path(site.state_path).read_bytes() == before


def test_a_refusal_is_on_record_once(site: SiteConfig, asked: Instruction) -> None:
    (site.state_path / "cache").rename(site.state_path / "gone")
    for _ in range(2):
        assert isinstance(answer(site, asked), Refusal)
    assert events(site)[1:] == ["round-asked", "round-refused"]
    assert log.entries(site.state_path)[-1].facts["code"] == RefusalCode.NO_CACHE


def test_another_policy_is_on_record_before_the_next_round(
    site: SiteConfig, asked: Instruction, update: Update
) -> None:
    assert site.privacy_path is not None
    site.privacy_path.write_text(site.privacy_path.read_text().replace("10.0", "9.0"))
    answer(site, asked)
    assert update.round_number == 1
    assert events(site)[-1] == "policy-changed"


def test_nothing_leaves_a_hospital_whose_record_was_changed(
    site: SiteConfig, asked: Instruction, update: Update
) -> None:
    path = log_path(site.state_path)
    path.write_bytes(path.read_bytes().replace(b"coordinator", b"c00rdinator"))
    refusal = answer(site, asked)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.EVIDENCE
    assert "audit verify" in refusal.reason
    assert update.content is not None


def test_nothing_is_trained_where_nothing_can_be_noted(
    site: SiteConfig, asked: Instruction
) -> None:
    log_path(site.state_path).parent.write_bytes(b"in the way")
    with pytest.raises(OSError, match="evidence"):
        answer(site, asked)
    assert not list(site.state_path.glob("studies/*/round-*"))


def test_a_receipt_stays_when_the_change_is_gone(site: SiteConfig, update: Update) -> None:
    folder = site.state_path / "studies" / update.study_digest[:12]
    for path in folder.glob("round-*/change.shards"):
        path.unlink()
    (kept,) = kept_receipts(site.state_path)
    assert kept.is_signed()
    assert kept.receipt.shards == update.change.digests
    assert Event.CHANGE_LEFT in events(site)

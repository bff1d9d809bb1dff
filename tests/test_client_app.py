"""What leaves the hospital through Flower, and what stays in its log."""

import errno
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.app import Context, Message, RecordDict

from client.app import SITES_VARIABLE, app
from client.config import SiteConfig
from client.plans.approving import approve
from client.plans.gate import arrive
from federation.config import StudyConfig, study_json
from federation.messages import (
    Answer,
    CountsRequest,
    Instruction,
    Refusal,
    RefusalCode,
    SiteCounts,
    Update,
)
from federation.plan import SignedPlan
from federation.shipment import inline_shipment, open_content
from federation.stages import FullStage, LocalTraining
from federation.wire.counts import pack_counts_request, unpack_counts
from federation.wire.header import PROTOCOL
from federation.wire.rounds import pack_instruction, unpack_answer
from model.arrays import Arrays
from model.conditioning import FINDINGS

pytestmark = pytest.mark.usefixtures("inside_a_flower_task", "outlives_its_parent")

PATIENT = "DOE^JANE 19570312"
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1e-3)


@pytest.fixture
def site(
    make_hospital: Callable[..., SiteConfig],
    joined: Callable[[SiteConfig], SiteConfig],
    memory_path: Path,
) -> SiteConfig:
    return joined(make_hospital(memory_path))


@pytest.fixture
def profile(site: SiteConfig, memory_path: Path) -> Path:
    """The hospital's profile as a file."""
    path = memory_path / "site.yaml"
    content = {
        "site_name": site.site_name,
        "coordinator": site.coordinator,
        "ca_path": str(site.ca_path),
        "data_path": str(site.data_path),
        "state_path": str(site.state_path),
        "image_size": site.image_size,
        "authority_path": str(site.authority_path),
        "privacy_path": str(site.privacy_path),
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def instruction(
    study_of: Callable[..., StudyConfig],
    plan_of: Callable[..., SignedPlan],
    random_weights: Arrays,
    site: SiteConfig,
) -> RecordDict:
    """Under a plan that the hospital approved."""
    study = study_of(FullStage(kind="full", num_rounds=1, local=LOCAL))
    plan = plan_of(study)
    arrive(site, plan)
    approve(site, plan.digest, name="Dr Example")
    return pack_instruction(
        Instruction(
            study=study_json(study),
            round_number=1,
            weights=inline_shipment(random_weights),
            plan=plan,
        )
    )


def send(record: RecordDict, kind: str = "train", **node: str | int) -> Message:
    """What Flower gets back for one message."""
    context = Context(1, 7, dict(node), RecordDict(), {})
    return app(Message(record, 7, kind), context)


def answer_to(record: RecordDict, profile: Path) -> Answer:
    reply = send(record, site=str(profile))
    assert not reply.has_error()
    return unpack_answer(reply.content)


def test_an_instruction_is_answered_with_an_update(instruction: RecordDict, profile: Path) -> None:
    update = answer_to(instruction, profile)
    assert isinstance(update, Update)
    assert math.isfinite(update.loss)
    change = open_content(update.change, update.content or b"")
    assert any(np.any(tensor) for tensor in change.values())


def test_the_text_of_an_exception_never_leaves_the_hospital(
    instruction: RecordDict,
    profile: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*_: object) -> None:
        raise ValueError(f"cannot decode {PATIENT}")

    monkeypatch.setattr("client.app.answer", fails)
    with caplog.at_level(logging.ERROR):
        refusal = answer_to(instruction, profile)
    assert isinstance(refusal, Refusal)
    assert refusal.code == RefusalCode.INTERNAL
    assert "internal error at the hospital, reference " in refusal.reason
    assert "DOE" not in refusal.reason
    assert PATIENT in caplog.text
    reference = refusal.reason.split("reference ")[1].split()[0]
    assert reference in caplog.text


def test_a_full_disk_is_told_without_saying_where(
    instruction: RecordDict, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", f"/data/{PATIENT}")

    monkeypatch.setattr("client.app.answer", fails)
    refusal = answer_to(instruction, profile)
    assert isinstance(refusal, Refusal)
    assert refusal.code == RefusalCode.DISK
    assert "DOE" not in refusal.reason


def test_an_error_deep_inside_leaves_no_path_behind(
    instruction: RecordDict, profile: Path, site: SiteConfig
) -> None:
    for path in (site.state_path / "cache").glob("*/patients.npy"):
        path.unlink()
    reply = send(instruction, site=str(profile))
    assert str(site.state_path) not in str(reply.content)


def test_a_profile_that_cannot_be_used_puts_a_round_off_and_what_it_says_stays_here(
    instruction: RecordDict, profile: Path, caplog: pytest.LogCaptureFixture
) -> None:
    profile.write_text(f"site_name: n\n{PATIENT}: 1")
    refusal = answer_to(instruction, profile)
    assert isinstance(refusal, Refusal)
    assert refusal.code == RefusalCode.PAUSED
    assert "fedcxr doctor" in refusal.reason
    assert "DOE" not in refusal.reason
    assert "coordinator: Field required" in caplog.text


def test_another_protocol_is_answered_in_words_the_coordinator_can_act_on(
    instruction: RecordDict, profile: Path
) -> None:
    instruction.config_records["header"]["protocol"] = PROTOCOL + 1
    refusal = answer_to(instruction, profile)
    assert isinstance(refusal, Refusal)
    assert refusal.code == RefusalCode.PROTOCOL
    assert f"speaks protocol {PROTOCOL + 1}" in refusal.reason


def test_a_refusal_in_our_own_words_leaves_as_it_is(
    instruction: RecordDict, profile: Path, site: SiteConfig
) -> None:
    (site.state_path / "cache" / "current").unlink()
    refusal = answer_to(instruction, profile)
    assert isinstance(refusal, Refusal)
    assert refusal.code == RefusalCode.NO_CACHE


def test_a_hospital_of_the_simulation_engine_says_its_name(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SITES_VARIABLE, os.pathsep.join(["nowhere.yaml", str(profile)]))
    reply = send(RecordDict(), "query.name", **{"partition-id": 1})
    assert reply.content.config_records["site"]["name"] == "a"


REQUEST = CountsRequest(findings=FINDINGS)


def share_statistics(profile: Path, **choices: float) -> None:
    content = yaml.safe_load(profile.read_text())
    profile.write_text(yaml.safe_dump(content | {"statistics": {"share": True, **choices}}))


def test_a_hospital_that_shares_answers_with_counts(profile: Path) -> None:
    share_statistics(profile, min_cell=5)
    reply = send(pack_counts_request(REQUEST), "query.counts", site=str(profile))
    answer = unpack_counts(reply.content, REQUEST)
    assert isinstance(answer, SiteCounts)
    assert (answer.num_patients, answer.table["sex"]["F"]) == (5, 5)  # of six


def test_a_hospital_that_does_not_share_says_no_more_than_that(profile: Path) -> None:
    reply = send(pack_counts_request(REQUEST), "query.counts", site=str(profile))
    answer = unpack_counts(reply.content, REQUEST)
    assert isinstance(answer, Refusal)
    assert answer.code == RefusalCode.STATISTICS


def test_nothing_but_counts_is_in_the_message_that_leaves(profile: Path, memory_path: Path) -> None:
    share_statistics(profile, epsilon=1.0)
    reply = send(pack_counts_request(REQUEST), "query.counts", site=str(profile))
    (header,) = reply.content.config_records.values()
    assert list(reply.content) == ["header"]
    for name, value in header.items():
        numbers = value if isinstance(value, list) else [value]
        assert all(type(number) in {int, float} for number in numbers), name
    assert str(memory_path) not in str(reply.content)


@pytest.mark.parametrize("findings", [["x"] * 2, [PATIENT * 99], []])
def test_a_hostile_request_for_counts_gets_none(profile: Path, findings: list[str]) -> None:
    share_statistics(profile, min_cell=1)
    record = pack_counts_request(REQUEST)
    record.config_records["header"]["findings"] = findings
    reply = send(record, "query.counts", site=str(profile))
    answer = unpack_counts(reply.content, REQUEST)
    assert isinstance(answer, Refusal)
    assert answer.code in {RefusalCode.INTERNAL, RefusalCode.CACHE}
    assert "DOE" not in answer.reason

"""A change of few bytes lies at the coordinator before the answer that offers it; else it is sent for, as ever."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from client import delivery
from client.config import SiteConfig
from client.control.acts import pause
from client.kept import study_folder
from client.plans.approving import approve
from client.plans.gate import arrive
from client.receiving import receive
from client.rounds import answer
from client.transfer import patience
from client.transfer.opening import open_box
from federation.config import StudyConfig, Transport, parse_study, study_digest, study_json
from federation.messages import BoxTicket, Instruction, Refusal, Update
from federation.own_boxes import own_box
from federation.plan import SignedPlan
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining
from model.arrays import Arrays
from server.blobs.builtin import BuiltinStore
from tests.faults.gateway_process import SITE, Gateway

FULL = FullStage(
    kind="full",
    num_rounds=3,
    local=LocalTraining(local_steps=1, batch_size=2, learning_rate=1e-3),
)
OWNER = "up.0123456789ab.00001.a"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and no proxy between here and here."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.005)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site(
    make_hospital: Callable[..., SiteConfig], memory_path: Path, gateway: Gateway
) -> SiteConfig:
    hospital = make_hospital(memory_path)
    ca_path = gateway.state / "tls" / "ca.crt"
    return replace(hospital, coordinator=f"localhost:{gateway.port}", ca_path=ca_path)


@pytest.fixture
def asked(
    site: SiteConfig, study_of: Callable[..., StudyConfig], random_weights: Arrays
) -> Instruction:
    """What the hospital is asked, which holds the weights already."""
    transport = Transport(inline_bytes=0, shard_values=2**15)
    study = replace(study_of(FULL, num_sites=1, min_sites=1), transport=transport)
    weights = inline_shipment(random_weights)
    receive(site, weights, study_folder(site, study_digest(study)) / "received")
    kept_back = replace(weights, content=None)
    return Instruction(study=study_json(study), round_number=1, weights=kept_back)


@pytest.fixture
def store(gateway: Gateway) -> BuiltinStore:
    """Whatever a hospital left under its name is gone with the test."""
    store = BuiltinStore(gateway.state)
    store.forget(OWNER)
    return store


def box_ticket(store: BuiltinStore, *, max_bytes: int = 2**30, seconds: float = 60.0) -> BoxTicket:
    return store.box_ticket(OWNER, site=SITE, max_bytes=max_bytes, seconds=seconds)


def arrived(store: BuiltinStore, update: Update) -> frozenset[int]:
    return store.arrived(own_box(OWNER, update.change.digest), update.change)


def trained(site: SiteConfig, instruction: Instruction) -> Update:
    update = answer(site, instruction)
    assert isinstance(update, Update), update
    return update


def test_a_change_of_few_bytes_is_there_before_the_answer(
    site: SiteConfig, asked: Instruction, store: BuiltinStore
) -> None:
    update = trained(site, replace(asked, box=box_ticket(store)))
    shards = frozenset(range(len(update.change.digests)))
    assert len(shards) > 2
    assert update.content is None
    assert arrived(store, update) == shards


def test_asked_again_it_sends_nothing_again(
    site: SiteConfig, asked: Instruction, store: BuiltinStore, caplog: pytest.LogCaptureFixture
) -> None:
    instruction = replace(asked, box=box_ticket(store))
    first = trained(site, instruction)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="client.transfer"):
        again = trained(site, instruction)
    assert again.change == first.change
    assert "left 0 bytes" in caplog.text
    assert len(arrived(store, again)) == len(again.change.digests)


def test_without_leave_nothing_is_left(
    site: SiteConfig, asked: Instruction, store: BuiltinStore
) -> None:
    assert arrived(store, trained(site, asked)) == frozenset()


def test_more_than_the_coordinator_takes_is_not_even_announced(
    site: SiteConfig, asked: Instruction, store: BuiltinStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[object] = []
    monkeypatch.setattr(delivery, "open_box", lambda *arguments: announced.append(arguments))
    trained(site, replace(asked, box=box_ticket(store, max_bytes=1000)))
    assert announced == []


@pytest.mark.parametrize("trouble", ["over", "forged", "expired", "nobody there"])
def test_what_cannot_be_left_at_once_is_offered_all_the_same(
    site: SiteConfig, asked: Instruction, store: BuiltinStore, trouble: str
) -> None:
    box = box_ticket(store, seconds=-5.0 if trouble == "expired" else 60.0)
    if trouble == "over":
        store.forget(OWNER)
    if trouble == "forged":
        box = replace(box, token="e30.e30")  # noqa: S106
    if trouble == "nobody there":
        site = replace(site, coordinator="localhost:9")
    update = trained(site, replace(asked, box=box))
    assert arrived(store, update) == frozenset()


def test_an_answer_does_not_wait_for_a_slow_line_beyond_its_time(
    site: SiteConfig, asked: Instruction, store: BuiltinStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "AT_ONCE_SECONDS", -1.0)
    update = trained(site, replace(asked, box=box_ticket(store)))
    assert arrived(store, update) == {0}


def test_a_hospital_that_paused_meanwhile_leaves_nothing_and_offers_nothing(
    site: SiteConfig, asked: Instruction, store: BuiltinStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause_then_open(*arguments: object) -> object:
        pause(site.state_path, by="Dr Example")
        return open_box(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(delivery, "open_box", pause_then_open)
    refusal = answer(site, replace(asked, box=box_ticket(store)))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "paused"


def test_what_was_approved_no_longer_when_the_training_ended_does_not_leave(
    site: SiteConfig,
    asked: Instruction,
    store: BuiltinStore,
    plan_of: Callable[..., SignedPlan],
    joined: Callable[[SiteConfig], SiteConfig],
) -> None:
    plan, member = plan_of(parse_study(asked.study)), joined(site)
    arrive(member, plan)
    instruction = replace(asked, plan=plan, box=box_ticket(store))
    refusal = answer(member, instruction)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "unapproved"
    approve(member, plan.digest, name="Dr Example")
    update = trained(member, instruction)
    assert len(arrived(store, update)) == len(update.change.digests)

"""A hospital leaves what it finished where the coordinator asks for it, and nothing else."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict

from client.app import app
from client.config import SiteConfig
from client.delivery import deliver
from client.kept import KeptRounds, study_folder
from client.plans.approving import approve
from client.plans.gate import arrive
from client.privacy_policy import load_policy
from client.receiving import receive
from client.rounds import answer
from client.transfer import patience
from federation.config import StudyConfig, Transport, parse_study, study_digest, study_json
from federation.messages import (
    Delivered,
    DeliveryRequest,
    Instruction,
    Refusal,
    RefusalCode,
    Ticket,
    Update,
)
from federation.parcel import Unpacked, shards_in_memory
from federation.plan import SignedPlan
from federation.privacy_terms import PrivacyTerms
from federation.processes import free_port
from federation.shipment import inline_shipment, shipment_of
from federation.stages import FullStage, LocalTraining
from federation.strict_yaml import dump_yaml
from federation.wire.deliveries import pack_delivery_request, unpack_delivery
from model.arrays import Arrays, digest_arrays
from model.tensor_file import TensorFile, copy_tensors
from privacy.ledger.verification import read_statement
from server.blobs.builtin import BuiltinStore
from tests.faults.blob_server import TOKEN, BlobServer, Shelf, certificate
from tests.faults.gateway_process import put_on_roster

LOCAL = LocalTraining(local_steps=1, batch_size=2, learning_rate=1e-3)
FULL = FullStage(kind="full", num_rounds=3, local=LOCAL)
TERMS = PrivacyTerms(noise_multiplier=2.0, sample_rate=0.5, max_grad_norm=0.1)
PRIVATE = replace(FULL, local=replace(LOCAL, privacy=TERMS))
BESIDE = Transport(inline_bytes=0, shard_values=2**15)
POLICY = {
    "data_set": "radiology",
    "max_epsilon": 50.0,
    "delta": 1e-3,
    "min_noise_multiplier": 1.0,
    "max_sample_rate": 0.5,
    "max_local_steps": 4,
    "kinds": ["full"],
}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and no proxy between here and here."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(patience, "MAX_PAUSE_SECONDS", 0.05)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def site(
    make_hospital: Callable[..., SiteConfig], memory_path: Path, tmp_path: Path, shelf: Shelf
) -> Iterator[SiteConfig]:
    """A hospital with a policy that private studies need and others do not."""
    policy_path = memory_path / "privacy.yaml"
    policy_path.write_text(dump_yaml(POLICY | {"only_private": False}))
    with BlobServer(tmp_path / "server", shelf) as server:
        hospital = make_hospital(memory_path, privacy_path=policy_path)
        ca_path = tmp_path / "server" / "ca.crt"
        yield replace(hospital, coordinator=f"localhost:{server.port}", ca_path=ca_path)


@pytest.fixture
def asked(
    site: SiteConfig, study_of: Callable[..., StudyConfig], random_weights: Arrays
) -> Instruction:
    """What the hospital is asked, which holds the weights already: nothing has to travel inside the message."""
    study = replace(study_of(FULL, num_sites=1, min_sites=1), transport=BESIDE)
    weights = inline_shipment(random_weights)
    for digest in (study_digest(study), study_digest(in_private(study))):
        receive(site, weights, study_folder(site, digest) / "received")
    return Instruction(
        study=study_json(study), round_number=1, weights=replace(weights, content=None)
    )


def in_private(study: StudyConfig) -> StudyConfig:
    """The same study with a promise."""
    return replace(study, stages=(PRIVATE,))


@pytest.fixture
def asked_in_private(study_of: Callable[..., StudyConfig], asked: Instruction) -> Instruction:
    study = replace(study_of(FULL, num_sites=1, min_sites=1), transport=BESIDE)
    return replace(asked, study=study_json(in_private(study)))


def trained(site: SiteConfig, instruction: Instruction) -> Update:
    update = answer(site, instruction)
    assert isinstance(update, Update), update
    return update


def request_for(update: Update, shelf: Shelf, *, seconds: float = 60) -> DeliveryRequest:
    """All shards, for which the coordinator has made room."""
    shelf.expected, shelf.sizes = list(update.change.digests), list(update.change.sizes)
    numbers = tuple(range(len(update.change.digests)))
    links = tuple(f"/blobs/box/{number}" for number in numbers)
    return DeliveryRequest(
        study_digest=update.study_digest,
        round_number=update.round_number,
        parcel_digest=update.change.digest,
        shards=numbers,
        ticket=Ticket(links=links, token=TOKEN, expires=int(time.time() + seconds)),
    )


def left(update: Update, shelf: Shelf) -> Arrays:
    """The change as the coordinator reads it."""
    content = b"".join(bytes(shelf.left[number]) for number in sorted(shelf.left))
    return Unpacked(update.change, shards_in_memory(update.change, content))


def refused(site: SiteConfig, request: DeliveryRequest) -> RefusalCode:
    refusal = deliver(site, request)
    assert isinstance(refusal, Refusal)
    return refusal.code


def test_a_change_of_many_bytes_stays_until_it_is_asked_for_and_then_arrives_whole(
    site: SiteConfig, asked: Instruction, shelf: Shelf
) -> None:
    update = trained(site, asked)
    assert update.content is None
    assert len(update.change.digests) > 2
    delivered = deliver(site, request_for(update, shelf))
    assert delivered == Delivered(parcel_digest=update.change.digest)
    kept = KeptRounds(study_folder(site, update.study_digest)).read(1)
    assert kept is not None
    assert digest_arrays(left(update, shelf)) == digest_arrays(kept.change)


def test_only_the_shards_that_are_asked_for_are_left(
    site: SiteConfig, asked: Instruction, shelf: Shelf
) -> None:
    update = trained(site, asked)
    request = request_for(update, shelf)
    one = replace(request.ticket, links=request.ticket.links[1:2])
    deliver(site, replace(request, shards=(1,), ticket=one))
    assert shelf.left.keys() == {1}


def test_asked_again_what_lies_there_is_not_sent_again(
    site: SiteConfig, asked: Instruction, shelf: Shelf
) -> None:
    update = trained(site, asked)
    request = request_for(update, shelf)
    deliver(site, request)
    shelf.asked.clear()
    assert isinstance(deliver(site, request), Delivered)
    assert {line.split()[0] for line in shelf.asked} == {"HEAD"}


def test_what_is_not_kept_is_not_there_to_be_left(
    site: SiteConfig, asked: Instruction, shelf: Shelf
) -> None:
    request = request_for(trained(site, asked), shelf)
    others = [
        replace(request, study_digest="0" * 64),
        replace(request, study_digest=request.study_digest[:12] + "0" * 52),
        replace(request, round_number=2),
        replace(request, parcel_digest="0" * 64),
        replace(request, shards=(len(request.shards),)),
    ]
    assert {refused(site, other) for other in others} == {RefusalCode.NOT_KEPT}
    assert shelf.asked == []
    assert not (site.state_path / "studies" / ("0" * 12)).exists()


def test_a_change_is_kept_no_longer_once_a_later_round_is_asked_for(
    site: SiteConfig, asked: Instruction, shelf: Shelf
) -> None:
    request = request_for(trained(site, asked), shelf)
    trained(site, replace(asked, round_number=2))
    assert refused(site, request) == RefusalCode.NOT_KEPT


def test_a_ticket_that_ends_is_a_transfer_that_failed_and_the_next_one_goes_on(
    site: SiteConfig, asked: Instruction, shelf: Shelf
) -> None:
    update = trained(site, asked)
    request = request_for(update, shelf, seconds=-5)
    shelf.faults.answers = [503]
    assert refused(site, request) == RefusalCode.TRANSFER
    assert isinstance(deliver(site, request_for(update, shelf)), Delivered)
    assert [len(shelf.left[number]) for number in sorted(shelf.left)] == shelf.sizes


def test_a_private_change_leaves_after_it_is_settled_and_as_that(
    site: SiteConfig, asked_in_private: Instruction, shelf: Shelf
) -> None:
    update = trained(site, asked_in_private)
    assert isinstance(deliver(site, request_for(update, shelf)), Delivered)
    assert site.privacy_path is not None
    book = read_statement(load_policy(site.privacy_path).ledger_path).book
    assert book is not None
    (charge,) = book.charges.values()
    assert charge.released == digest_arrays(left(update, shelf))


def test_a_private_change_that_is_not_the_settled_one_does_not_leave(
    site: SiteConfig, asked_in_private: Instruction, shelf: Shelf
) -> None:
    update = trained(site, asked_in_private)
    kept = KeptRounds(study_folder(site, update.study_digest)).read(1)
    assert kept is not None
    content = bytearray(kept.path.read_bytes())
    content[0] ^= 1
    kept.path.write_bytes(content)
    assert refused(site, request_for(update, shelf)) == RefusalCode.REPLAY
    assert shelf.asked == []


def test_a_policy_that_was_changed_since_stops_what_it_does_not_allow_any_more(
    site: SiteConfig, asked: Instruction, shelf: Shelf
) -> None:
    update = trained(site, asked)
    assert site.privacy_path is not None
    site.privacy_path.write_text(dump_yaml(POLICY | {"only_private": True}))
    assert refused(site, request_for(update, shelf)) == RefusalCode.POLICY
    assert shelf.asked == []


@pytest.fixture
def profile_in_memory(site: SiteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program reads no file for it."""
    monkeypatch.setattr("client.app.load_site", lambda _: site)


@pytest.mark.usefixtures("inside_a_flower_task", "outlives_its_parent", "profile_in_memory")
def test_a_delivery_is_asked_for_and_answered_through_flower(
    site: SiteConfig,
    asked: Instruction,
    shelf: Shelf,
    plan_of: Callable[..., SignedPlan],
    joined: Callable[[SiteConfig], SiteConfig],
) -> None:
    update = trained(site, asked)
    record = pack_delivery_request(request_for(update, shelf))
    context = Context(1, 7, {"site": "profile.yaml"}, RecordDict(), {})
    reply = app(Message(record, 7, "query.deliver"), context)
    nobody_agreed = unpack_delivery(reply.content)
    assert isinstance(nobody_agreed, Refusal)
    assert nobody_agreed.code == RefusalCode.UNAPPROVED
    plan, member = plan_of(parse_study(asked.study)), joined(site)
    arrive(member, plan)
    approve(member, plan.digest, name="Dr Example")
    reply = app(Message(record, 7, "query.deliver"), context)
    expected = Delivered(parcel_digest=update.change.digest)
    assert unpack_delivery(reply.content) == expected


@contextmanager
def public_port(folder: Path, port: int) -> Iterator[None]:
    """The coordinator's, in a process of its own."""
    tls = certificate(folder)
    put_on_roster(folder, "a")
    command = [
        *(sys.executable, "-m", "server.gateway", "--host", "127.0.0.1", "--port", port),
        *("--upstream-port", "9", "--cert", tls.cert_path, "--key", tls.key_path),
        *("--ca", tls.ca_path, "--state", folder),
    ]
    process = subprocess.Popen(list(map(str, command)))
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_round_goes_beside_the_messages_both_ways_through_the_coordinators_public_port(
    site: SiteConfig, asked: Instruction, random_weights: Arrays, tmp_path: Path
) -> None:
    folder, path, port = tmp_path / "coordinator", tmp_path / "weights", free_port()
    site = replace(site, coordinator=f"localhost:{port}", ca_path=folder / "ca.crt")
    digest = copy_tensors(path, random_weights)
    shipment = shipment_of(TensorFile(path), BESIDE, digest=digest)
    with public_port(folder, port):
        store = BuiltinStore(folder)
        store.publish("weights.1", shipment.parcel, path, TensorFile(path).data_start)
        leave = store.fetch_ticket("weights.1", shipment.parcel, site="a", seconds=60)
        update = trained(site, replace(asked, weights=replace(shipment, ticket=leave)))
        store.open_box("change.a.1", update.change)
        shards = range(len(update.change.digests))
        ticket = store.leave_ticket("change.a.1", update.change, shards, site="a", seconds=60)
        request = replace(request_for(update, Shelf()), ticket=ticket)
        assert deliver(site, request) == Delivered(parcel_digest=update.change.digest)
    assert store.arrived("change.a.1", update.change) == frozenset(shards)
    change = Unpacked(update.change, store.bring("change.a.1", update.change, shards))
    kept = KeptRounds(study_folder(site, update.study_digest)).read(1)
    assert kept is not None
    assert digest_arrays(change) == digest_arrays(kept.change)
    squares = sum(np.square(tensor, dtype=float).sum() for tensor in change.values())
    assert update.norm == pytest.approx(np.sqrt(squares))

"""What a restore lost of the log: a named person may answer for exactly that, it is told for ever, and nothing else is forgiven."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.config import load_site
from client.doctor.hospital import hospital_of
from client.doctor.trust import evidence
from client.evidence import log
from client.evidence.check import check, log_problems
from client.evidence.ledger_heads import DATA_SET, HEAD, RECORDS, missing_heads
from client.evidence.log import Event, log_path, note
from client.evidence.losses import NobodyAnswers, NoLoss, accept_losses, accepted_losses
from client.evidence.witness import keep_witness, witness_path
from federation.diagnosis import Verdict
from federation.log_witness import LogWitness, sign_head
from federation.node_keys import make_node_key
from federation.signing import load_private
from privacy.ledger.chain import Chain, ChainDamaged
from server.enrolment.authority import Authority, study_authority
from server.evidence.witnesses import Witnesses

Fedcxr = Callable[..., tuple[int, str, str]]
Answer = Callable[[], LogWitness]
NAME, REASON = "Dr Ann Noe", "the disk died; no newer backup"


@pytest.fixture
def state(memory_path: Path) -> Path:
    return memory_path / "state"


@pytest.fixture
def known(memory_path: Path) -> Authority:
    return study_authority(memory_path / "coordinator")


@pytest.fixture
def coordinator(memory_path: Path, known: Authority) -> Witnesses:
    return Witnesses(state_path=memory_path / "coordinator", authority=known)


@pytest.fixture
def answer(state: Path, coordinator: Witnesses) -> Answer:
    """The hospital notes something, answers, and hears what the coordinator witnessed."""
    key = load_private(make_node_key(state, "north").private_path)

    def once() -> LogWitness:
        note(state, "ingested", actor="someone")
        said = sign_head(log.settled_head(state), key, site_name="north")
        coordinator.keep("north", said, study_digest="ef" * 32, round_number=1)
        witness = coordinator.last("north")
        assert witness is not None
        keep_witness(state, witness, coordinator.authority.public)
        return witness

    return once


@pytest.fixture
def lost(state: Path, answer: Answer) -> LogWitness:
    """Entries 1 and 2 are there again, entry 4 was witnessed."""
    answer()
    answer()
    old = log_path(state).read_bytes()
    note(state, "paused", actor="someone")
    witness = answer()
    log_path(state).write_bytes(old)
    return witness


@pytest.fixture
def profile(state: Path, coordinator: Witnesses) -> Path:
    path, key = state.parent / "site.yaml", state.parent / "authority.pub"
    key.write_bytes(coordinator.authority.public)
    content = {"site_name": "north", "coordinator": "localhost:1", "image_size": 16}
    paths = {"ca_path": "ca.crt", "data_path": "data", "state_path": str(state)}
    path.write_text(yaml.safe_dump({**content, **paths, "authority_path": str(key)}))
    return path


def problems(state: Path, known: Authority) -> tuple[str, ...]:
    return check(state, authority=known.public).problems


def accept(state: Path, known: Authority) -> None:
    accept_losses(state, authority=known.public, name=NAME, reason=REASON)


def test_an_accepted_loss_is_sound_and_told_each_time_with_who_what_and_why(
    fedcxr: Fedcxr, profile: Path, lost: LogWitness, state: Path
) -> None:
    verify = ("hospital", "audit", "verify", profile)
    code, out, _ = fedcxr(*verify)
    assert (code, "accept-loss" in out) == (1, True)
    typed = ("hospital", "audit", "accept-loss", profile, "--name", NAME, "--reason", REASON)
    assert [fedcxr(*typed)[0], fedcxr(*typed)[0]] == [0, 2]  # it is accepted once
    for _ in range(2):
        code, out, _ = fedcxr(*verify)
        assert (code, NAME in out, REASON in out, lost.digest[:16] in out) == (0, True, True, True)
        assert ("is whole but for" in out, "of entries 3 to 4" in out) == (True, True)
    code, out, _ = fedcxr(*verify, "--json")
    (told,) = json.loads(out)["accepted_losses"]
    assert (code, told["name"], told["head"]["digest"]) == (0, NAME, lost.digest)
    assert (told["number"], told["kept"], told["account"]) == (3, 2, log.account())
    assert [each.event for each in log.entries(state)][-1] == "loss-accepted"
    assert fedcxr(*verify, "--head", lost.digest[:16])[0] == 1


@pytest.mark.usefixtures("lost")
def test_a_new_loss_is_a_fault_again_and_the_accepted_one_is_still_told(
    fedcxr: Fedcxr, profile: Path, state: Path, known: Authority, answer: Answer
) -> None:
    accept(state, known)
    (first,) = accepted_losses(state)
    old = log_path(state).read_bytes()
    later = answer()
    log_path(state).write_bytes(old)
    (problem,) = problems(state, known)
    assert "in all 1 states" in problem
    code, out, _ = fedcxr("hospital", "audit", "verify", profile)
    assert (code, later.digest[:16] in out, first.sentence in out) == (1, True, True)
    accept(state, known)
    assert problems(state, known) == ()
    assert [loss.head for loss in accepted_losses(state)] == [first.head, later.head]


def test_another_head_of_as_many_entries_is_not_covered(
    state: Path, known: Authority, lost: LogWitness, answer: Answer
) -> None:
    accept(state, known)
    old, count = log_path(state).read_bytes(), answer().count
    assert count == lost.count
    log_path(state).write_bytes(old)
    assert len(problems(state, known)) == 1


@pytest.mark.usefixtures("lost")
def test_whoever_cuts_the_log_below_an_acceptance_loses_the_acceptance(
    state: Path, known: Authority
) -> None:
    old = log_path(state).read_bytes()
    accept(state, known)
    log_path(state).write_bytes(old)
    assert len(problems(state, known)) == 1


def test_where_nothing_is_lost_nothing_is_accepted(
    state: Path, known: Authority, answer: Answer
) -> None:
    for _ in range(2):
        answer()
        with pytest.raises(NoLoss, match="no loss to accept"):
            accept(state, known)
    assert accepted_losses(state) == ()


def test_a_damaged_log_is_no_lost_one(state: Path, known: Authority, lost: LogWitness) -> None:
    path = log_path(state)
    path.write_bytes(path.read_bytes().replace(b"someone", b"nobody "))
    before = path.read_bytes()
    with pytest.raises(ChainDamaged):
        accept(state, known)
    assert (path.read_bytes(), lost.count) == (before, 4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *[(name, REASON) for name in ("", "  ", "a\nb", "n" * 101, "program", "Coordinator")],
        *[(NAME, reason) for reason in (" ", "a\nb", "r" * 301)],
    ],
)
@pytest.mark.usefixtures("lost")
def test_nobody_and_no_reason_accept_nothing(
    refused: Callable[..., str], profile: Path, state: Path, name: str, reason: str
) -> None:
    typed = ("hospital", "audit", "accept-loss", profile, "--name", name, "--reason", reason)
    assert str(NobodyAnswers()) in refused(*typed)
    assert accepted_losses(state) == ()


def test_an_entry_of_another_kind_accepts_nothing(
    state: Path, known: Authority, lost: LogWitness
) -> None:
    facts: log.Facts = {"head": lost.digest, "entries": lost.count, "kept": 2}
    note(state, "log-replaced", actor=NAME, facts=facts)
    assert len(problems(state, known)) == 1
    assert accepted_losses(state) == ()


def test_a_witness_that_the_authority_did_not_sign_cannot_be_accepted_away(
    state: Path, known: Authority, memory_path: Path, answer: Answer
) -> None:
    note(state, "joined", actor="someone")
    old, said = log_path(state).read_bytes(), answer().said
    witness_path(state, known.public).unlink()
    log_path(state).write_bytes(old)
    stranger = Witnesses(
        state_path=memory_path / "other", authority=study_authority(memory_path / "other")
    )
    stranger.keep("north", said, study_digest="ef" * 32, round_number=1)
    forged = stranger.last("north")
    assert forged is not None
    keep_witness(state, forged, known.public)
    with pytest.raises(NoLoss):
        accept(state, known)
    assert "not signed by the study authority" in problems(state, known)[0]


def test_the_coordinator_still_tells_that_a_witnessed_head_was_left_out(
    fedcxr: Fedcxr, state: Path, known: Authority, lost: LogWitness, coordinator: Witnesses
) -> None:
    accept(state, known)
    key = load_private(make_node_key(state, "north").private_path)
    said = sign_head(log.settled_head(state), key, site_name="north")
    coordinator.keep("north", said, study_digest="ef" * 32, round_number=2)
    where = ("--state", coordinator.state_path, "--json")
    code, out, _ = fedcxr("coordinator", "witness", "north", *where)
    told = json.loads(out)
    assert (code, len(told["breaks"])) == (1, 1)
    assert lost.digest in [each["digest"] for each in told["witnessed"]]


def test_an_acceptance_does_not_cover_what_the_privacy_ledger_lacks(
    state: Path, known: Authority, answer: Answer
) -> None:
    facts: log.Facts = {DATA_SET: "films", RECORDS: 7, HEAD: "34" * 32}
    note(state, "change-left", actor=log.PROGRAM, facts=facts)
    old = log_path(state).read_bytes()
    answer()
    log_path(state).write_bytes(old)
    accept(state, known)
    assert log_problems(state, known.public) == ()
    lacks = missing_heads(log.entries(state), Chain(), data_set="films")
    assert ["an older copy was put back" in each for each in lacks] == [True]


@pytest.mark.usefixtures("lost")
def test_the_doctor_tells_who_answers_for_the_loss(
    state: Path, known: Authority, profile: Path
) -> None:
    hospital = hospital_of(load_site(profile), profile, None)
    assert evidence(hospital).verdict is Verdict.FAIL
    accept(state, known)
    found = evidence(hospital)
    assert (found.verdict, NAME in found.sentence) == (Verdict.OK, True)


def killed_at(state: Path, known: Authority, number: int) -> int:
    """How a process ends that is killed at its n-th call that changes a file while it accepts; 0 if it got through."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    due = [number]
    for name in ("write", "fsync", "ftruncate", "replace"):
        setattr(os, name, dying(getattr(os, name), due))
    accept(state, known)
    os._exit(0)


def dying(real: Callable[..., Any], due: list[int]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        due[0] -= 1
        if due[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    return call


def test_whoever_is_killed_while_accepting_two_losses_accepted_whole_ones_and_can_go_on(
    state: Path, known: Authority, answer: Answer
) -> None:
    answer()
    old = log_path(state).read_bytes()
    heads = [answer().head, answer().head]
    seen, number = set[int](), 0
    while 2 not in seen:
        number += 1
        log_path(state).write_bytes(old)
        code = killed_at(state, known, number)
        assert code in {0, -signal.SIGKILL}
        done = [loss.head for loss in accepted_losses(state)]
        assert done == heads[: len(done)]
        assert bool(log_problems(state, known.public)) == (len(done) < 2)
        if len(done) < 2:
            accept(state, known)
        assert [loss.head for loss in accepted_losses(state)] == heads
        assert problems(state, known) == ()
        seen.add(len(done))
    assert seen == {0, 1, 2}
    assert [str(each.event) for each in log.entries(state)][-2:] == [Event.LOSS_ACCEPTED] * 2

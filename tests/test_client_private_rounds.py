"""A private round at a hospital: allowed by its policy, paid for once, and nothing of single patients in what leaves."""

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from client.config import SiteConfig
from client.evidence.check import check, readable_ledger
from client.rounds import answer
from client.statistics import answer_counts
from federation.config import StudyConfig, study_json
from federation.messages import CountsRequest, Instruction, Refusal, RefusalCode, SiteCounts
from federation.shipment import inline_shipment, open_inline
from model.adapter import initial_adapter
from model.arrays import Arrays, digest_arrays
from model.conditioning import FINDINGS
from model.tensor_file import TensorFile, copy_tensors
from privacy.accounting.phase import Phase
from privacy.ledger.chain import read_chain
from privacy.ledger.verification import read_statement
from privacy.training.entropy import SystemEntropy
from privacy.training.step import private_step
from server.countersign import Countersign
from server.rounds import run_study
from server.sites import Answered, Event
from server.state import GlobalState
from server.store import StudyStore
from simulation.in_process import InProcess
from tests.toys.answers import change_of, first_round, refused, trained
from tests.toys.private_hospital import (
    FULL,
    LOCAL,
    LORA,
    TERMS,
    ledger_path,
    spent,
    with_policy,
)

StudyOf = Callable[..., StudyConfig]
MakeHospital = Callable[..., SiteConfig]


@pytest.fixture
def hospital(make_hospital: MakeHospital, memory_path: Path) -> SiteConfig:
    """One that shares counts where it may, with a policy."""
    return with_policy(make_hospital(memory_path, share_counts=True))


@pytest.fixture
def study(study_of: StudyOf) -> StudyConfig:
    return study_of(FULL, LORA, num_sites=1, min_sites=1)


@pytest.fixture
def full(study: StudyConfig, random_weights: Arrays) -> Instruction:
    return first_round(study, random_weights)


def test_what_leaves_is_the_change_and_constants_of_the_study(
    hospital: SiteConfig, full: Instruction
) -> None:
    update = trained(hospital, full)
    assert math.isnan(update.loss)
    assert math.isnan(update.held_out_loss)
    assert (update.seconds, update.num_records, update.num_files) == (0.0, 0, 0)
    assert update.num_steps == LOCAL.local_steps
    assert update.change.shapes == full.weights.parcel.shapes
    assert update.ledger is not None
    assert read_chain(ledger_path(hospital)).holds(update.ledger)


class OneDraw(SystemEntropy):
    """The same numbers every time; of others, some would leave no patient to take a mean of."""

    def __init__(self) -> None:
        self._bits = np.random.PCG64(1)

    def _words(self, count: int) -> NDArray[np.uint64]:
        return self._bits.random_raw(count)


def test_a_loss_leaves_with_noise_if_study_and_policy_say_so(
    hospital: SiteConfig,
    study_of: StudyOf,
    random_weights: Arrays,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.private_training.SystemEntropy", OneDraw)
    terms = replace(TERMS, loss_noise_multiplier=2.0)
    told = study_of(replace(FULL, local=replace(LOCAL, privacy=terms)), num_sites=1, min_sites=1)
    asked = Instruction(
        study=study_json(told), round_number=1, weights=inline_shipment(random_weights)
    )
    refusal = refused(hospital, asked)
    assert refusal.code == RefusalCode.POLICY
    assert "does not let a loss leave" in refusal.reason
    assert math.isfinite(trained(with_policy(hospital, noised_loss=True), asked).loss)


def test_an_adapter_moves_one_factor_a_round_with_privacy_too(
    hospital: SiteConfig, study: StudyConfig, random_weights: Arrays
) -> None:
    weights = initial_adapter(study.model_config, LORA.adapter, torch.Generator())
    asked = Instruction(
        study=study_json(study),
        round_number=4,
        weights=inline_shipment(weights),
        base=inline_shipment(random_weights),
    )
    change = change_of(trained(hospital, asked))
    assert change
    assert all(".lora_B." in name for name in change)
    assert all(np.isfinite(tensor).all() for tensor in change.values())


def test_a_round_is_paid_for_once_and_sent_again_the_same(
    hospital: SiteConfig, full: Instruction
) -> None:
    first = trained(hospital, full)
    paid, head = spent(hospital), read_chain(ledger_path(hospital)).head
    again = trained(hospital, full)
    assert digest_arrays(change_of(again)) == digest_arrays(change_of(first))
    assert again.ledger == first.ledger
    assert (spent(hospital), read_chain(ledger_path(hospital)).head) == (paid, head)


def test_two_trainings_of_one_round_differ(
    make_hospital: MakeHospital, memory_path: Path, full: Instruction
) -> None:
    sites = [with_policy(make_hospital(memory_path / name)) for name in ("one", "two")]
    one, two = (digest_arrays(change_of(trained(site, full))) for site in sites)
    assert one != two


def test_what_was_released_is_never_made_again(hospital: SiteConfig, full: Instruction) -> None:
    trained(hospital, full)
    paid = spent(hospital)
    shutil.rmtree(hospital.state_path / "studies")
    assert refused(hospital, full).code == RefusalCode.REPLAY
    moved = {name: tensor + 1 for name, tensor in open_inline(full.weights).items()}
    other = replace(full, weights=inline_shipment(moved))
    assert refused(hospital, other).code == RefusalCode.REPLAY
    assert spent(hospital) == paid


def test_a_training_that_died_stays_paid_and_the_next_attempt_is_free(
    hospital: SiteConfig, full: Instruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("client.private_training.private_step", die)
        with pytest.raises(KeyboardInterrupt):
            answer(hospital, full)
    paid = spent(hospital)
    assert paid > 0
    trained(hospital, full)
    assert spent(hospital) == paid


def test_an_update_that_was_kept_but_not_settled_leaves_without_a_second_charge(
    hospital: SiteConfig, full: Instruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("client.private_round.PrivateRound.settle", die)
        with pytest.raises(KeyboardInterrupt):
            answer(hospital, full)
    paid = spent(hospital)
    with monkeypatch.context() as patch:
        patch.setattr("client.private_training.train_privately", die)
        trained(hospital, full)
    assert spent(hospital) == paid


def test_nothing_is_computed_before_it_is_charged(
    hospital: SiteConfig, full: Instruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def look(*_: object, **__: object) -> NoReturn:
        seen.append(spent(hospital))
        raise KeyboardInterrupt

    monkeypatch.setattr("client.private_training.train_privately", look)
    with pytest.raises(KeyboardInterrupt):
        answer(hospital, full)
    assert seen[0] > 0


def test_a_round_adds_noise_as_often_as_it_is_charged_for(
    hospital: SiteConfig, full: Instruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []

    def counted(*arguments: Any, **named: Any) -> object:  # noqa: ANN401  whatever a step takes
        steps.append(arguments)
        return private_step(*arguments, **named)

    monkeypatch.setattr("client.private_training.private_step", counted)
    trained(hospital, full)
    book = read_statement(ledger_path(hospital)).book
    assert book is not None
    (charge,) = book.charges.values()
    assert isinstance(charge.cost, Phase)
    assert charge.cost.num_steps == len(steps) == LOCAL.local_steps


def test_a_spent_budget_is_a_refusal_and_the_study_goes_on(
    make_hospital: MakeHospital, memory_path: Path, study_of: StudyOf, random_weights: Arrays
) -> None:
    rich = with_policy(make_hospital(memory_path / "rich", "a"))
    poor = with_policy(make_hospital(memory_path / "poor", "b"), max_epsilon=1.8)
    store = StudyStore.create(memory_path / "state", study_of(FULL, num_sites=2, min_sites=1))
    key = Ed25519PrivateKey.generate()
    countersign = Countersign(store=store, key=key)

    def ask(instruction: Instruction) -> Iterator[Event]:
        for site in (rich, poor):
            sent = replace(
                instruction,
                receipt=countersign.receipt_for(site.site_name),
                witness_key=countersign.public_key,
            )
            yield Answered(site=site.site_name, answer=answer(site, sent))

    def written(*arguments: Any) -> TensorFile:  # noqa: ANN401  as the coordinator calls it
        copy_tensors(arguments[-1], random_weights)
        return TensorFile(arguments[-1])

    reached: GlobalState = run_study(store, InProcess(ask), written)
    assert reached.round_number == FULL.num_rounds
    last = {part.site: part for part in store.parts() if part.number == FULL.num_rounds}
    assert last["a"].state == "admitted"
    assert (last["b"].state, last["b"].code) == ("refused", "budget")
    assert "budget" in last["b"].reason
    assert not any(letter.isdigit() for letter in last["b"].reason)  # not how much, not for what
    assert spent(poor) <= 1.8
    kept = read_statement(ledger_path(rich)).receipts
    assert [receipt.receipt.round_number for receipt in kept] == [1, 2]


def test_an_old_copy_of_the_ledger_stops_the_hospital(
    hospital: SiteConfig, study: StudyConfig, full: Instruction, memory_path: Path
) -> None:
    store = StudyStore.create(memory_path / "state", study)
    countersign = Countersign(store=store, key=Ed25519PrivateKey.generate())
    trained(hospital, full)
    old = ledger_path(hospital).read_bytes()
    second = replace(full, round_number=2)
    update = trained(hospital, second)
    assert update.ledger is not None
    store.witness(hospital.site_name, update.ledger, 2)
    ledger_path(hospital).write_bytes(old)
    shutil.rmtree(hospital.state_path / "evidence")  # the log would find it first
    third = replace(
        full,
        round_number=3,
        receipt=countersign.receipt_for(hospital.site_name),
        witness_key=countersign.public_key,
    )
    assert refused(hospital, third).code == RefusalCode.LEDGER
    assert refused(hospital, replace(third, receipt=None)).code == RefusalCode.LEDGER


def test_an_older_ledger_beside_a_newer_log_stops_the_hospital_before_any_receipt_comes(
    hospital: SiteConfig, full: Instruction
) -> None:
    trained(hospital, full)
    path = ledger_path(hospital)
    before = path.read_bytes()
    trained(hospital, replace(full, round_number=2))
    newest, third = path.read_bytes(), replace(full, round_number=3)
    without_the_end = b"".join(newest.splitlines(keepends=True)[:-1])  # as before it was settled
    for old in (without_the_end, before, b""):
        path.write_bytes(old)
        assert refused(hospital, third).code == RefusalCode.LEDGER
        assert path.read_bytes() == old
        found = check(hospital.state_path, ledger=readable_ledger(path))
        assert any("privacy ledger had" in problem for problem in found.problems)
    path.unlink()
    assert check(hospital.state_path, ledger=readable_ledger(path)).problems
    path.write_bytes(newest)
    trained(hospital, third)


def test_the_ledger_of_another_data_set_is_no_older_one(
    hospital: SiteConfig, full: Instruction
) -> None:
    trained(hospital, full)
    other = with_policy(hospital, data_set="cardiology", ledger_path="other.ledger")
    trained(other, replace(full, round_number=2))
    assert read_chain(ledger_path(other)).head.count > 0


def test_receipts_are_believed_from_the_first_key_only(
    hospital: SiteConfig, study: StudyConfig, full: Instruction, memory_path: Path
) -> None:
    store = StudyStore.create(memory_path / "state", study)
    update = trained(hospital, full)
    assert update.ledger is not None
    store.witness(hospital.site_name, update.ledger, 1)

    def asked(number: int, countersign: Countersign) -> Instruction:
        return replace(
            full,
            round_number=number,
            receipt=countersign.receipt_for(hospital.site_name),
            witness_key=countersign.public_key,
        )

    first, other = (Countersign(store=store, key=Ed25519PrivateKey.generate()) for _ in range(2))
    unsigned = replace(asked(2, first), witness_key=other.public_key)
    assert refused(hospital, unsigned).code == RefusalCode.LEDGER  # and its key is not kept
    trained(hospital, asked(2, first))
    assert refused(hospital, asked(3, other)).code == RefusalCode.LEDGER
    forged = replace(asked(3, other), witness_key=first.public_key)
    assert refused(hospital, forged).code == RefusalCode.LEDGER
    trained(hospital, asked(3, first))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"kinds": ["lora"]}, "kind full"),
        ({"min_noise_multiplier": 3.0}, "noise multiplier"),
        ({"max_sample_rate": 0.25}, "sample_rate"),
        ({"max_local_steps": 1}, "local_steps"),
        ({"delta": 0.5}, "delta"),
    ],
)
def test_what_the_policy_does_not_allow_is_refused_and_costs_nothing(
    hospital: SiteConfig, full: Instruction, changes: dict[str, object], word: str
) -> None:
    refusal = refused(with_policy(hospital, **changes), full)
    assert refusal.code == RefusalCode.POLICY
    assert word in refusal.reason
    path = ledger_path(hospital)
    assert not path.exists() or read_statement(path).book.charges == {}  # type: ignore[union-attr]


def test_privacy_needs_a_policy_and_a_policy_may_need_privacy(
    hospital: SiteConfig, full: Instruction, study_of: StudyOf, random_weights: Arrays
) -> None:
    refusal = refused(replace(hospital, privacy_path=None), full)
    assert refusal.code == RefusalCode.POLICY
    assert "has no privacy policy" in refusal.reason
    open_stage = replace(FULL, local=replace(LOCAL, privacy=None))
    plain = study_of(open_stage, num_sites=1, min_sites=1)
    asked = Instruction(
        study=study_json(plain), round_number=1, weights=inline_shipment(random_weights)
    )
    assert refused(hospital, asked).code == RefusalCode.POLICY
    trained(with_policy(hospital, only_private=False), asked)


def test_a_policy_that_cannot_be_read_refuses(hospital: SiteConfig, full: Instruction) -> None:
    assert hospital.privacy_path is not None
    hospital.privacy_path.write_text("data_set: radiology\nmax_epsilon: much\n")
    refusal = refused(hospital, full)
    assert refusal.code == RefusalCode.POLICY
    assert "much" not in refusal.reason


def test_several_processes_are_refused_with_privacy(
    hospital: SiteConfig, full: Instruction
) -> None:
    several = replace(hospital, training=replace(hospital.training, processes=2))
    assert "one process" in refused(several, full).reason


def test_counts_with_noise_are_charged_once_and_without_noise_do_not_leave(
    hospital: SiteConfig,
) -> None:
    request = CountsRequest(findings=FINDINGS)
    exact = replace(hospital, statistics=replace(hospital.statistics, share=True))
    refusal = answer_counts(exact, request)
    assert isinstance(refusal, Refusal)
    assert refusal.code == RefusalCode.STATISTICS
    noised = replace(exact, statistics=replace(exact.statistics, epsilon=0.5))
    assert isinstance(answer_counts(noised, request), SiteCounts)
    assert spent(hospital) == 0.5
    assert answer_counts(noised, request) == answer_counts(noised, request)
    assert spent(hospital) == 0.5
    shutil.rmtree(hospital.state_path / "statistics")  # lost, but they have left
    again = answer_counts(noised, request)
    assert isinstance(again, Refusal)
    assert again.code == RefusalCode.REPLAY

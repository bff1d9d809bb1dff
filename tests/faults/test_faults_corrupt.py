"""Hospitals whose updates are bad in every way that could be thought of, in a real federation: none of them counts."""

import os
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import pytest

from client.config import load_site
from client.evidence.check import check
from client.evidence.receipts import kept_receipts
from federation.lineage import verify_model
from federation.protocol import SPOKEN
from server.enrolment.authority import study_authority
from server.export import model_path
from tests.faults.federation_under_test import (
    Federation,
    digests_of_honest,
    federation,
    names_of,
    study_of,
)

pytestmark = [pytest.mark.federation, pytest.mark.slow]

EVERYTHING = bool(os.environ.get("FEDCXR_ALL_FAULTS"))
"""Whether all faults are tried; `make faults` does."""
NUM_HONEST = 2
NUM_BAD = 3
PATIENCE_SECONDS = 60.0 if EVERYTHING else 300.0
"""The study's deadline, which is what a hospital costs that does not deliver and does not say so."""

QUICK = {
    "nan": ("not-finite", "NaN or infinity"),
    "shape": ("tensors", ", expected ("),
    "large-unsaid": ("norm", ", and it says "),
    "flipped-inside": ("unreadable", "is not what its digest says"),
    "replay": ("stale", "it answers round 1, this is round 2"),
    "forged": ("signature", "is not signed"),
}
"""What a hospital does -> code, and some words, of the refusal."""
OTHERS = {
    "nan-unsaid": ("not-finite", "NaN or infinity"),
    "large": ("norm", "times the median"),
    "negative-records": ("unreadable", "num_records"),
    "inf-unsaid": ("not-finite", "NaN or infinity"),
    "bit-unsaid": ("norm", ", and it says "),
    "omit": ("tensors", "is missing"),
    "unknown": ("tensors", "is not part of this round"),
    "encoding": ("tensors", "comes as bf16"),
    "shards": ("tensors", "in shards of 123456 values"),
    "study": ("study", "another study"),
    "weights": ("stale", "from other weights"),
    "stale": ("stale", "it answers round"),
    "steps": ("steps", "1 local steps"),
    "loss": ("not-finite", "loss"),
    "norm": ("not-finite", "NaN or infinity"),
    "truncated-inside": ("unreadable", "change.content"),
    "garbage": ("unreadable", "header"),
    "protocol": ("protocol", f"speaks protocol {SPOKEN + 1}, this side speaks {SPOKEN}"),
    "leaves-nothing": ("no-answer", "shards of its change did not come"),
    "leaves-some": ("no-answer", "shards of its change did not come"),
    "flipped-beside": ("blocked", "is damaged on this hospital's disk"),
    "hangs": ("no-answer", "shards of its change did not come"),
}
EXPECTED = QUICK | OTHERS if EVERYTHING else QUICK


def faults_of(bad: Sequence[str]) -> dict[str, list[str]]:
    """All faults, shared out: each hospital has another one in every round, and some have two turns if need be."""
    num_rounds = -(-len(EXPECTED) // len(bad))
    turns = list(islice(cycle(EXPECTED), num_rounds * len(bad)))
    return {name: turns[start :: len(bad)] for start, name in enumerate(bad)}


def check_refusals(running: Federation, faults: dict[str, list[str]]) -> None:
    """Every bad answer was refused, with its reason."""
    for name, of_hospital in faults.items():
        for number, fault in enumerate(of_hospital, start=1):
            part = running.part(number, name)
            code, words = EXPECTED[fault]
            assert (part.state, part.code) == ("refused", code), (fault, part)
            assert words in part.reason, (fault, part)


def check_evidence(running: Federation, honest: Sequence[str]) -> None:
    """The signed model names those whose changes are in it, and each of them has the receipts and nothing to mend."""
    authority = study_authority(running.layout.coordinator).public
    lineage = verify_model(model_path(running.store), authority).lineage
    assert {each.sites for each in lineage.rounds} == {tuple(honest)}
    for name in honest:
        state = load_site(running.layout.profile(name)).state_path
        assert check(state).problems == ()
        receipts = [kept.receipt for kept in kept_receipts(state)]
        assert [each.round_number for each in receipts] == [each.number for each in lineage.rounds]
        assert {each.plan_digest for each in receipts} == {lineage.plan_digest}
        assert receipts[0].received_digest == lineage.parent_digest
        norms = [running.part(each.round_number, name).norm for each in receipts]
        assert [each.norm for each in receipts] == norms


def test_no_corrupt_update_moves_a_bit_of_what_the_honest_hospitals_make(tmp_path: Path) -> None:
    num_rounds = -(-len(EXPECTED) // NUM_BAD)
    study = study_of(
        "corrupt",
        num_sites=NUM_HONEST + NUM_BAD,
        min_sites=NUM_HONEST,
        num_rounds=num_rounds,
        deadline=PATIENCE_SECONDS,
    )
    honest, bad = names_of(study)[:NUM_HONEST], names_of(study)[NUM_HONEST:]
    faults = faults_of(bad)

    with federation(tmp_path / "out", study, faults=faults | {honest[0]: ["twice"]}) as running:
        running.run().join(60 * num_rounds)

    assert (running.layout.hospital(honest[0]) / "state" / "flower" / "said-twice").exists()
    alone = digests_of_honest(study, running.layout, honest, tmp_path / "alone")
    assert [record.digest for record in running.store.rounds()] == alone
    assert all(part.attempt == 1 for part in running.store.parts())
    assert all(
        running.part(number + 1, name).state == "admitted"
        for number in range(num_rounds)
        for name in honest
    )
    check_refusals(running, faults)
    check_evidence(running, honest)

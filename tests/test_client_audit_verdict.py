"""Every threshold of an audit turns, and the worst check is the verdict."""

import math
from dataclasses import replace

import pytest

from client.audit.claim import Claim, Promise
from client.audit.evidence import Evidence, NotRun
from client.audit.reading_back import ReadBack
from client.audit.repeating import Repeated
from client.audit.sent import SentRound
from client.audit.verdict import Status, allowed_auc, judge, verdict
from privacy.accounting.phase import Phase
from privacy.audit.canaries import Rehearsal
from privacy.audit.inversion import Likeness
from privacy.audit.membership import Membership
from privacy.audit.roc import Estimate, Separation

CLAIM = Claim(
    data_set="chests",
    adjacency="adding or removing one patient",
    delta=1e-5,
    cap=8.0,
    epsilon=1.0,
    study_epsilon=1.0,
    others_epsilon=0.0,
    phases=(Phase(noise_multiplier=2.0, sample_rate=0.1, num_steps=20),),
    terms=(),
    accountant="PRV",
    head_count=3,
    head_digest="0" * 64,
    num_charges=1,
    num_receipts=1,
    witness="coordinator",
    witnessed_count=2,
)
SENT = SentRound(
    study_digest="1" * 64,
    round_number=1,
    tensors=(),
    sha256="2" * 64,
    numbers=("num_steps",),
    standing="settled",
)


def told(value: float, low: float) -> Membership:
    auc = Estimate(value=value, low=low, high=1.0)
    tpr = Estimate(value=0.02, low=0.0, high=0.1)
    raw = Separation(auc=auc, tpr=tpr, max_fpr=0.01, num_members=50, num_others=50)
    return Membership(raw=raw, calibrated=None)


def read_back(*, bare: float, private: float) -> ReadBack:
    return ReadBack(
        bare=Likeness(correlation=bare, psnr=20.0),
        unrelated=Likeness(correlation=0.7, psnr=15.0),
        private=Likeness(correlation=private, psnr=12.0),
        noise_multiplier=2.0,
        num_steps=200,
    )


GOOD = Evidence(
    promise=Promise(has_policy=True, problems=(), claim=CLAIM, book=None),
    num_training_patients=900,
    sent=(SENT,),
    rehearsal=Rehearsal(
        claimed_epsilon=1.0,
        delta=1e-5,
        lower_bound=0.3,
        num_canaries=100,
        num_guesses=20,
        num_right=12,
    ),
    membership=told(0.52, 0.45),
    repeated=Repeated(
        num_samples=64,
        num_clear=0,
        num_near=0,
        false_alarm_rate=0.02,
        chance=1.0,
        share_closer_to_training=0.5,
    ),
    read_back=read_back(bare=0.95, private=0.4),
)
BARE = replace(GOOD, promise=Promise(has_policy=False, problems=(), claim=None, book=None))


def status_of(evidence: Evidence, name: str) -> Status:
    (check,) = (check for check in judge(evidence) if check.name.startswith(name))
    return check.status


def with_claim(**changes: object) -> Evidence:
    claim = replace(CLAIM, **changes)  # type: ignore[arg-type]  # mypy cannot see which field
    return replace(GOOD, promise=replace(GOOD.promise, claim=claim))


def near(*, num_near: int, num_clear: int, chance: float) -> Evidence:
    assert isinstance(GOOD.repeated, Repeated)
    found = replace(GOOD.repeated, num_near=num_near, num_clear=num_clear, chance=chance)
    return replace(GOOD, repeated=found)


def test_good_evidence_passes_every_check() -> None:
    assert {check.status for check in judge(GOOD)} == {Status.PASS}
    assert verdict(judge(GOOD)) == Status.PASS


def test_the_worst_check_is_the_verdict() -> None:
    assert verdict(judge(BARE)) == Status.WARN
    broken = replace(BARE, promise=replace(BARE.promise, problems=("it is damaged",)))
    assert verdict(judge(broken)) == Status.FAIL


@pytest.mark.parametrize(
    ("evidence", "name", "status"),
    [
        (
            replace(GOOD, promise=replace(GOOD.promise, problems=("rolled back",))),
            "Ledger",
            Status.FAIL,
        ),
        (BARE, "Ledger", Status.WARN),
        (with_claim(num_receipts=0), "Ledger", Status.WARN),
        (with_claim(epsilon=8.0), "Promise", Status.PASS),
        (with_claim(epsilon=8.01), "Promise", Status.FAIL),
        (with_claim(epsilon=math.inf), "Promise", Status.FAIL),
        (with_claim(delta=1 / 900), "Promise", Status.FAIL),
        (with_claim(study_epsilon=None), "Promise", Status.WARN),
        (with_claim(study_epsilon=None, epsilon=9.0), "Promise", Status.FAIL),
        (BARE, "Promise", Status.WARN),
        (replace(GOOD, sent=(replace(SENT, standing="other content"),)), "What", Status.FAIL),
        (replace(GOOD, sent=(replace(SENT, standing="not charged"),)), "What", Status.WARN),
        (replace(GOOD, sent=(replace(SENT, standing="reserved"),)), "What", Status.PASS),
        (replace(GOOD, sent=()), "What", Status.WARN),
        (replace(GOOD, rehearsal=NotRun(why="no time")), "Rehearsal", Status.WARN),
        (replace(BARE, membership=told(0.6, 0.5)), "Membership", Status.PASS),
        (replace(BARE, membership=told(0.61, 0.5)), "Membership", Status.WARN),
        (replace(GOOD, membership=told(0.85, 0.7)), "Membership", Status.WARN),
        (replace(GOOD, membership=told(0.95, 0.87)), "Membership", Status.WARN),
        (replace(GOOD, membership=told(0.95, 0.89)), "Membership", Status.FAIL),
        (replace(GOOD, membership=NotRun(why="nobody")), "Membership", Status.WARN),
        (near(num_near=1, num_clear=0, chance=0.7), "Copies", Status.WARN),
        (near(num_near=1, num_clear=1, chance=0.7), "Copies", Status.FAIL),
        (near(num_near=9, num_clear=0, chance=0.001), "Copies", Status.FAIL),
        (replace(GOOD, repeated=NotRun(why="nobody")), "Copies", Status.WARN),
        (replace(GOOD, read_back=read_back(bare=0.95, private=0.81)), "Gradient", Status.WARN),
        (replace(GOOD, read_back=read_back(bare=0.95, private=0.79)), "Gradient", Status.PASS),
        (replace(BARE, read_back=read_back(bare=0.81, private=0.4)), "Gradient", Status.WARN),
        (replace(BARE, read_back=read_back(bare=0.79, private=0.4)), "Gradient", Status.PASS),
    ],
)
def test_each_threshold_turns(evidence: Evidence, name: str, status: Status) -> None:
    assert status_of(evidence, name) == status


@pytest.mark.parametrize(("lower_bound", "status"), [(1.0, Status.PASS), (1.01, Status.FAIL)])
def test_a_rehearsal_that_proves_more_than_was_claimed_fails(
    lower_bound: float, status: Status
) -> None:
    assert isinstance(GOOD.rehearsal, Rehearsal)
    found = replace(GOOD.rehearsal, lower_bound=lower_bound)
    assert status_of(replace(GOOD, rehearsal=found), "Rehearsal") == status


def test_the_promise_bounds_the_auc_by_two_steps_between_neighbours() -> None:
    limit = allowed_auc(CLAIM)
    assert limit == pytest.approx(math.exp(2) / (1 + math.exp(2)), abs=1e-4)
    assert allowed_auc(replace(CLAIM, epsilon=math.inf)) == 1.0
    assert allowed_auc(None) is None


@pytest.mark.parametrize(
    ("evidence", "said"),
    [(GOOD, "0.40 (12 dB) from one private"), (BARE, "0.95 (20 dB) from one bare")],
)
def test_the_attack_that_is_reported_is_the_one_on_what_would_leave(
    evidence: Evidence, said: str
) -> None:
    assert any(said in check.found for check in judge(evidence))

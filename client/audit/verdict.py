"""What an audit's evidence comes to: each check against its threshold, and the worst of them as the verdict.

PASS means that nothing spoke against the promise, not that nothing could.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from client.audit.claim import Claim, Promise
from client.audit.evidence import Evidence, NotRun
from client.audit.reading_back import ReadBack
from client.audit.repeating import Repeated
from client.audit.sent import SentRound
from privacy.audit.canaries import Rehearsal
from privacy.audit.membership import Membership

MAX_AUC = 0.6
"""Above it, membership is guessed better than a hospital should put up with."""
MAX_GAIN = 0.1
"""Correlation of pixels that a reconstruction may have beyond that from an unrelated gradient."""


class Status(StrEnum):
    """How a check ended; in ascending order of concern."""

    PASS = "PASS"  # noqa: S105  no password
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One question, what was found, and what would have been too much."""

    name: str
    found: str
    threshold: str
    status: Status


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """All checks, in the order in which they are read."""
    promise, private = evidence.promise, evidence.is_private
    claim = promise.claim
    return (
        check_ledger(promise),
        check_promise(claim, evidence.num_training_patients),
        check_sent(evidence.sent, private=private),
        check_rehearsal(evidence.rehearsal),
        check_membership(evidence.membership, claim),
        check_copies(evidence.repeated),
        check_read_back(evidence.read_back, private=private),
    )


def verdict(checks: Sequence[Check]) -> Status:
    """The worst."""
    return max((check.status for check in checks), key=list(Status).index)


def check_ledger(promise: Promise) -> Check:
    """A damaged or rolled-back ledger, or a forged receipt, voids every number in it."""
    name, threshold = (
        "Ledger and receipts",
        "FAIL if broken, rolled back or wrongly signed; WARN if missing or not countersigned",
    )
    if promise.problems:
        return _check(name, promise.problems[0], threshold, Status.FAIL)
    claim = promise.claim
    if claim is None:
        found = "nothing was ever charged" if promise.has_policy else "the hospital has none"
        return _check(name, found, threshold, Status.WARN)
    seen = (
        f"{claim.num_receipts} receipts, the last for record {claim.witnessed_count}"
        if claim.num_receipts
        else "never countersigned, so that an older copy would not be noticed"
    )
    status = Status.PASS if claim.num_receipts else Status.WARN
    return _check(name, f"{claim.head_count} records, unbroken; {seen}", threshold, status)


def check_promise(claim: Claim | None, num_patients: int) -> Check:
    """The lifetime epsilon against the cap, and delta against the number of patients."""
    name, threshold = (
        "Promise",
        "FAIL above the cap, or if delta reaches 1 / patients; WARN without one",
    )
    if claim is None or claim.study_epsilon is None:
        found = "this study was trained without differential privacy: it promises nothing"
        too_much = claim is not None and not claim.epsilon <= claim.cap
        return _check(name, found, threshold, Status.FAIL if too_much else Status.WARN)
    spent = f"{claim.epsilon:.2f}" if math.isfinite(claim.epsilon) else "without bound"
    found = f"lifetime epsilon {spent}, cap {claim.cap:.2f}, delta {claim.delta:g}"
    kept = claim.epsilon <= claim.cap and claim.delta * num_patients < 1
    return _check(name, found, threshold, Status.PASS if kept else Status.FAIL)


def check_sent(sent: Sequence[SentRound], *, private: bool) -> Check:
    """Whether what lies here to be sent is what was paid for."""
    name, threshold = "What left", "FAIL if other than what was charged; WARN if not charged"
    if any(one.standing == "other content" for one in sent):
        found = "an update differs from the one that its charge was settled for"
        return _check(name, found, threshold, Status.FAIL)
    free = sum(one.standing == "not charged" for one in sent)
    if free:
        found = f"{free} of {len(sent)} kept updates left without differential privacy"
        return _check(name, found, threshold, Status.WARN)
    if not sent:
        found = "no update is kept here: nothing to compare with"
        return _check(name, found, threshold, Status.WARN if private else Status.PASS)
    return _check(name, f"{len(sent)} kept updates, each charged", threshold, Status.PASS)


def check_rehearsal(rehearsal: Rehearsal | NotRun) -> Check:
    """Fake patients in the real training code: is it as private as it says?"""
    name, threshold = "Rehearsal with canaries", "FAIL if the lower bound is above the claim"
    if isinstance(rehearsal, NotRun):
        return _not_run(name, rehearsal, threshold)
    found = f"epsilon is at least {rehearsal.lower_bound:.2f} (95 %), claimed {rehearsal.claimed_epsilon:.2f}"
    broken = rehearsal.lower_bound > rehearsal.claimed_epsilon
    return _check(name, found, threshold, Status.FAIL if broken else Status.PASS)


def check_membership(result: Membership | NotRun, claim: Claim | None) -> Check:
    """Who was in the training?"""
    name = "Membership inference"
    limit = allowed_auc(claim)
    threshold = f"WARN if AUC is above {MAX_AUC}"
    if limit is not None:
        threshold += f"; FAIL if surely above {limit:.2f}, all that epsilon allows"
    if isinstance(result, NotRun):
        return _not_run(name, result, threshold)
    told = result.strongest
    found = (
        f"AUC {told.auc.value:.2f} ({told.auc.low:.2f} to {told.auc.high:.2f}), "
        f"{100 * told.tpr.value:.0f} % named at {100 * told.max_fpr:.0f} % false ({100 * told.tpr.low:.0f} to "
        f"{100 * told.tpr.high:.0f} %), {told.num_members} against {told.num_others} patients"
    )
    status = Status.WARN if told.auc.value > MAX_AUC else Status.PASS
    if limit is not None and told.auc.low > limit:
        status = Status.FAIL
    return _check(name, found, threshold, status)


def allowed_auc(claim: Claim | None) -> float | None:
    """Largest AUC under the promise; None without one.

    A member and another patient who change places are one patient removed and one added, two steps between
    neighbours: their order can be told with probability e^(2 epsilon) / (1 + e^(2 epsilon)) at most, and delta's part.
    """
    if claim is None or claim.study_epsilon is None:
        return None
    shown = 1 / (1 + math.exp(-2 * min(claim.epsilon, 300.0)))
    return min(1.0, shown + claim.delta * (1 + math.exp(min(claim.epsilon, 300.0))))


def check_copies(result: Repeated | NotRun) -> Check:
    """Does the model draw training radiographs?"""
    name = "Copies of training radiographs"
    threshold = "FAIL if any; WARN if some lie near and chance explains it"
    if isinstance(result, NotRun):
        return _not_run(name, result, threshold)
    found = (
        f"{result.num_copies} of {result.num_samples} drawn; {result.num_near} lie near one, up to "
        f"{100 * result.false_alarm_rate:.0f} % do by chance"
    )
    if result.num_copies:
        return _check(name, found, threshold, Status.FAIL)
    return _check(name, found, threshold, Status.WARN if result.num_near else Status.PASS)


def check_read_back(result: ReadBack | NotRun, *, private: bool) -> Check:
    """Can a radiograph be read out of a gradient?"""
    name = "Gradient inversion"
    threshold = f"WARN if it gains more than {MAX_GAIN} of correlation over an unrelated gradient"
    if isinstance(result, NotRun):
        return _not_run(name, result, threshold)
    tried = result.private if private else result.bare
    gain = result.private_gain if private else result.bare_gain
    found = (
        f"correlation {tried.correlation:.2f} ({tried.psnr:.0f} dB) from one {'private' if private else 'bare'} "
        f"step, {result.unrelated.correlation:.2f} ({result.unrelated.psnr:.0f} dB) from an unrelated one"
    )
    return _check(name, found, threshold, Status.WARN if gain > MAX_GAIN else Status.PASS)


def _not_run(name: str, why: NotRun, threshold: str) -> Check:
    return _check(name, f"not tried: {why.why}", threshold, Status.WARN)


def _check(name: str, found: str, threshold: str, status: Status) -> Check:
    return Check(name=name, found=found, threshold=threshold, status=status)

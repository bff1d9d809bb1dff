"""An audit as plain facts: what is written to audit.json, signed, and shown on the page.

Exact losses, scores of patients and how guesses about canaries fell have no place in it.
"""

import math
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from typing import Any

from client.audit.claim import RANDOMNESS, SAMPLING, UNIT, Claim
from client.audit.evidence import Evidence, NotRun
from client.audit.reading_back import ReadBack
from client.audit.repeating import Repeated
from client.audit.subject import Subject
from client.audit.verdict import judge, verdict
from model.manifest import Manifest
from privacy.audit.canaries import Rehearsal
from privacy.audit.membership import NOISE_LEVELS, Membership
from privacy.audit.roc import Separation

FORMAT = 1
KIND = "fedcxr hospital audit"
"""Stands in every signed report, so that nothing else signed with the same key can pass for one."""

NOT_COVERED = (
    "the names of findings, the hospital's name and number, when it took part, and roughly how many patients it has",
    "patients known to several hospitals: their epsilons add up",
    "what rounding and time of computation give away",
    "stronger attacks than these, above all with crafted weights; an attack that fails proves nothing",
    "anybody who breaks into the hospital, or reads this page",
)

Facts = dict[str, Any]
"""Plain data, as JSON holds it."""


def facts_of(subject: Subject, evidence: Evidence, *, when: datetime) -> Facts:
    """Everything that the audit says; numbers that are not finite become None."""
    checks = judge(evidence)
    claim = evidence.promise.claim
    facts = {
        "kind": KIND,
        "format": FORMAT,
        "program": f"fedcxr {version('fedcxr')}",
        "time": when.isoformat(timespec="seconds"),
        "site": subject.site_name,
        "model": _model_facts(subject.manifest),
        "base": None if subject.base_manifest is None else _base_facts(subject),
        "verdict": verdict(checks),
        "checks": [asdict(check) for check in checks],
        "claim": None if claim is None else _claim_facts(claim, private=evidence.is_private),
        "ledger_problems": list(evidence.promise.problems),
        "sent": [asdict(one) | {"num_bytes": one.num_bytes} for one in evidence.sent],
        "rehearsal": _rehearsal_facts(evidence.rehearsal),
        "membership": _membership_facts(evidence.membership),
        "copies": _copies_facts(evidence.repeated),
        "inversion": _inversion_facts(evidence.read_back),
        "not_covered": list(NOT_COVERED),
    }
    plain: Facts = _plain(facts)
    return plain


def _model_facts(manifest: Manifest) -> Facts:
    return {
        "kind": manifest.kind,
        "study": manifest.study_name,
        "study_digest": manifest.study_digest,
        "rounds": manifest.rounds,
        "size": manifest.model.size,
        "image_size": manifest.model.image_size,
        "weights_digest": manifest.weights_digest,
    }


def _base_facts(subject: Subject) -> Facts:
    assert subject.base_manifest is not None  # noqa: S101  the caller looked
    digest = subject.base_manifest.weights_digest
    return {
        "weights_digest": digest,
        "is_parent": digest == subject.manifest.parent_digest,
        "knows_hospital": subject.base_knows_hospital,
    }


def _claim_facts(claim: Claim, *, private: bool) -> Facts:
    fixed = {"sampling": SAMPLING, "randomness": RANDOMNESS} if private else {}
    return {"unit": UNIT, **asdict(claim), **fixed}


def _rehearsal_facts(found: Rehearsal | NotRun) -> Facts:
    if isinstance(found, NotRun):
        return asdict(found)
    return {
        "claimed_epsilon": found.claimed_epsilon,
        "delta": found.delta,
        "lower_bound": found.lower_bound,
        "num_canaries": found.num_canaries,
    }


def _membership_facts(found: Membership | NotRun) -> Facts:
    if isinstance(found, NotRun):
        return asdict(found)
    both = {"raw": found.raw, "calibrated": found.calibrated}
    return {"noise_levels": list(NOISE_LEVELS)} | {
        name: None if one is None else _separation_facts(one) for name, one in both.items()
    }


def _separation_facts(found: Separation) -> Facts:
    return asdict(found)


def _copies_facts(found: Repeated | NotRun) -> Facts:
    if isinstance(found, NotRun):
        return asdict(found)
    return asdict(found) | {"num_copies": found.num_copies}


def _inversion_facts(found: ReadBack | NotRun) -> Facts:
    return asdict(found)


def _plain(value: Any) -> Any:  # noqa: ANN401  whatever JSON holds
    """Numbers to six digits; those that are not finite as None; tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, str) else value

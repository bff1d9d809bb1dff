"""A study's plan: made and signed once, and anew where the program or the terms changed; hospitals approve each one."""

import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from federation.code_digest import installed_code
from federation.files import hold_lock, write_file
from federation.plan import NO_BASE, Plan, SignedPlan, UnusablePlan, parse_plan, plan_json
from server.enrolment.authority import Authority, study_authority
from server.store import StudyStore

PLAN, LOCK = "plan.json", "plan.lock"
PATIENCE_SECONDS = 30.0
USUAL_DAYS = 365
"""From a plan's day of issue to its last day, unless a person says otherwise."""
USUAL_USE = (
    "Training of the generative model that this study names. Radiographs stay at the hospital; changes of the model's "
    "weights leave it."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a person decides about a plan; None leaves what was decided before."""

    data_use: str | None = None
    ends: date | None = None


UNCHANGED = Terms()


def signed_plan(store: StudyStore, terms: Terms = UNCHANGED) -> SignedPlan:
    """The plan that a study runs under, signed by the authority of the coordinator that keeps it.

    Args:
        store: Of the study.
        terms: What is decided now; a plan that says something else is replaced by a later one.

    Raises:
        ConfigError: the terms are none that a plan may hold.
    """
    authority = study_authority(store.folder.parent.parent)
    with hold_lock(store.folder / LOCK, patience_seconds=PATIENCE_SECONDS):
        kept = _kept(store.folder / PLAN, authority)
        old = None if kept is None else _read(kept)
        new = _plan(store, old, terms)
        if kept is not None and old is not None and replace(new, issued=old.issued) == old:
            return kept
        return _issue(store, new, authority)


def issued_plan(store: StudyStore) -> SignedPlan | None:
    """The plan that was issued last for a study; None if none was. Nothing is made for it."""
    return _kept(store.folder / PLAN, study_authority(store.folder.parent.parent))


def _plan(store: StudyStore, old: Plan | None, terms: Terms) -> Plan:
    """What the plan has to say now."""
    now = datetime.now(UTC)
    ends = terms.ends or (old.ends if old else now.date() + timedelta(days=USUAL_DAYS))
    return Plan(
        study=store.study,
        code_digest=installed_code(),
        base_digest=store.study.model.start or NO_BASE,
        data_use=terms.data_use or (old.data_use if old else USUAL_USE),
        ends=ends,
        issued=max(int(time.time()), old.issued + 1 if old else 0),
    )


def _issue(store: StudyStore, plan: Plan, authority: Authority) -> SignedPlan:
    text = plan_json(plan)
    parse_plan(text)  # terms that hospitals could not read are refused here
    signed = SignedPlan(text=text, signature=authority.sign(text.encode()))
    content = {"plan": signed.text, "signature": signed.signature.hex()}
    write_file(store.folder / PLAN, json.dumps(content).encode())
    return signed


def _kept(path: Path, authority: Authority) -> SignedPlan | None:
    """The plan that was issued last, if this authority signed it."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    signed = SignedPlan(text=content["plan"], signature=bytes.fromhex(content["signature"]))
    return signed if signed.is_signed_by(authority.public) else None


def _read(signed: SignedPlan) -> Plan | None:
    """What a plan says; None if another release wrote it."""
    try:
        return parse_plan(signed.text)
    except UnusablePlan:
        return None

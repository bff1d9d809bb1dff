"""A plan as a person at the hospital has to see it: what it is, what is new in it, what would leave, what stands against it."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from client.config import SiteConfig
from client.plans.gate import checked_plan
from client.plans.store import KeptPlan, kept_plans
from client.privacy_policy import PrivacyPolicy, why_refused
from client.private_round import policy_of
from client.refused import NotTaken
from federation.config import StudyConfig
from federation.encoding import encoded_size
from federation.plan import SHOWN_DIGITS, Plan, plan_json
from federation.planning.parameters import num_trained
from federation.planning.spending import phases_of
from federation.sizes import size
from federation.stages import FullStage, LoraStage
from privacy.accounting.epsilon import epsilon

UNCOMPARED = frozenset({"issued"})
"""Differs in every plan."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """Everything there is to know before a plan is approved."""

    kept: KeptPlan
    says: tuple[str, ...]
    """The plan in sentences."""
    differs: tuple[str, ...] | None
    """From what was approved last; None if nothing was."""
    leaves: tuple[str, ...]
    """What would leave the hospital, round by round."""
    against: tuple[str, ...]
    """Why the hospital would not take part even if the plan is approved."""

    @property
    def facts(self) -> dict[str, object]:
        """For a program."""
        return {
            "digest": self.kept.digest,
            "study": self.kept.plan.study.name,
            "arrived": self.kept.arrived,
            "approved_by": self.kept.approval.name if self.kept.approval else None,
            "says": list(self.says),
            "differs": None if self.differs is None else list(self.differs),
            "leaves": list(self.leaves),
            "against": list(self.against),
            "plan": json.loads(self.kept.signed.text),
        }


def review(site: SiteConfig, kept: KeptPlan) -> Review:
    """Look at one plan as this hospital stands now."""
    before = last_approved(site.state_path, kept)
    return Review(
        kept=kept,
        says=tuple(_says(kept.plan)),
        differs=None if before is None else tuple(differences(before.plan, kept.plan)),
        leaves=tuple(_leaves(site, kept.plan.study)),
        against=tuple(_against(site, kept)),
    )


def last_approved(state_path: Path, kept: KeptPlan) -> KeptPlan | None:
    """What a person would compare a plan with: the approved one of its study, else the one approved last."""
    others = [
        (other, other.approval)
        for other in kept_plans(state_path)
        if other.approval is not None and other.digest != kept.digest
    ]
    found = max(
        others,
        key=lambda each: (each[0].plan.study_digest == kept.plan.study_digest, each[1].seconds),
        default=None,
    )
    return None if found is None else found[0]


def differences(old: Plan, new: Plan) -> Iterator[str]:
    """A line for every value that is not the same in two plans."""
    before, after = _flat(json.loads(plan_json(old))), _flat(json.loads(plan_json(new)))
    for name in sorted(before.keys() | after.keys()):
        if name not in UNCOMPARED and before.get(name) != after.get(name):
            yield f"{name}: {_shown(before.get(name))} -> {_shown(after.get(name))}"


def review_text(found: Review) -> str:
    """A review for a person."""
    kept = found.kept
    approved = (
        f"approved by {kept.approval.name} on {_day(kept.approval.seconds)}"
        if kept.approval
        else "nobody has approved it"
    )
    differs = ("nothing was approved here before",) if found.differs is None else found.differs
    parts = [
        ("", (f"plan {kept.digest}, arrived on {_day(kept.arrived)}; {approved}", *found.says)),
        ("What differs from the plan approved last:", differs or ("nothing",)),
        ("What would leave this hospital:", found.leaves),
        ("What stands against it here:", found.against or ("nothing",)),
    ]
    lines = [line for head, body in parts for line in (head, *(f"  {each}" for each in body))]
    if kept.approval is None and not found.against:
        command = f'fedcxr hospital approve {kept.digest[:SHOWN_DIGITS]} --name "Dr ..."'
        lines += ["", f"To agree, somebody who may decide types: {command}"]
    return "\n".join(lines).strip("\n")


def _says(plan: Plan) -> Iterator[str]:
    study, start = plan.study, plan.base_digest
    yield f"study {study.name}, {study.num_rounds} rounds, issued on {_day(plan.issued)}, ends on {plan.ends}"
    yield f"data use: {plan.data_use}"
    begins = f"the model {start[:SHOWN_DIGITS]}" if start else "fresh weights"
    yield f"model {study.model.size}, {study.model.image_size} pixels, from {begins}"
    yield f"program {plan.code_digest[:SHOWN_DIGITS]}"
    for number, stage in enumerate(study.stages, 1):
        local = stage.local
        yield (
            f"stage {number} ({stage.kind}): {stage.num_rounds} rounds of {local.local_steps} steps, "
            f"{_terms(stage)}"
        )


def _terms(stage: FullStage | LoraStage) -> str:
    terms = stage.local.privacy
    if terms is None:
        return "without differential privacy"
    return (
        f"noise multiplier {terms.noise_multiplier:g}, sampling rate {terms.sample_rate:g}, gradients clipped to "
        f"{terms.max_grad_norm:g}"
    )


def _leaves(site: SiteConfig, study: StudyConfig) -> Iterator[str]:
    for index, stage in enumerate(study.stages):
        values = num_trained(study, index)
        leaves = size(encoded_size(values, study.transport.upload))
        yield (
            f"stage {index + 1}, {stage.num_rounds} times: the change of {values:,} weights, {leaves}, "
            f"and {_beside(site, stage)}"
        )
    yield "no radiograph, no header, no label, no report, nothing of a single patient's file"


def _beside(site: SiteConfig, stage: FullStage | LoraStage) -> str:
    """The numbers that leave with a change."""
    terms = stage.local.privacy
    if terms is not None:
        loss = "a noised loss, " if terms.loss_noise_multiplier is not None else ""
        return f"{loss}its norm and the place of the privacy ledger's last entry"
    counts = ", the numbers of files and of usable radiographs" if site.share_counts else ""
    return f"its norm, two mean losses, the seconds it took{counts}"


def _against(site: SiteConfig, kept: KeptPlan) -> Iterator[str]:
    try:
        checked_plan(site, kept.signed)
        policy = policy_of(site)
    except NotTaken as err:
        yield err.refusal.reason
        return
    if policy is None:
        yield "the hospital has no policy file: its data-protection officer writes one (privacy_path)"
        return
    yield from _against_policy(policy, kept.plan)


def _against_policy(policy: PrivacyPolicy, plan: Plan) -> Iterator[str]:
    study = plan.study
    for index, stage in enumerate(study.stages):
        base = plan.base_digest if study.stages[0].kind == "lora" else ""
        if isinstance(stage, LoraStage) and not base:
            continue  # its frozen model is made in the study: known when its first round is asked for
        reason = why_refused(policy, stage, stage.local.privacy, base_digest=base)
        if reason is not None:
            yield f"stage {index + 1}: {reason}"
    phases = phases_of(study)
    spent = epsilon(phases, policy.delta).value if phases else 0.0
    if spent > policy.max_epsilon or math.isinf(spent):
        yield f"it would spend epsilon {spent:.2f}, the hospital's cap is {policy.max_epsilon:.2f}"


def _flat(content: object, name: str = "") -> Mapping[str, object]:
    """Nested content as dotted names and plain values."""
    if isinstance(content, dict):
        pairs = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list):
        pairs = [(str(number), value) for number, value in enumerate(content, 1)]
    else:
        return {name: content}
    found: dict[str, object] = {}
    for key, value in pairs:
        found.update(_flat(value, f"{name}.{key}" if name else key))
    return found


def _shown(value: object) -> str:
    return "nothing" if value is None else str(value)


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()

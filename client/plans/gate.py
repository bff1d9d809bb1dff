"""Whether an instruction is covered by a plan that a person here approved; asked before anything of it is fetched.

Nothing that a coordinator sends is believed: the plan has to carry the study authority's signature, to cover this very
study, frozen model and installed program, to be in force today, and to be the last one that somebody approved. A frozen
model that a study makes itself is in no plan: the first that comes for a stage is the stage's, until another plan is approved.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from client.config import SiteConfig
from client.evidence.log import COORDINATOR, PROGRAM, Event, Facts, note, note_news
from client.plans.store import approval_of_study, first_frozen, keep_plan
from client.refused import NotTaken
from federation.code_digest import installed_code
from federation.config import study_json
from federation.messages import DeliveryRequest, Instruction, Refusal, RefusalCode
from federation.plan import SHOWN_DIGITS, Plan, SignedPlan, UnusablePlan, parse_plan

logger = logging.getLogger(__name__)

ASK_COORDINATOR = "the coordinator's operator has to send a plan that covers it"


def why_not(site: SiteConfig, instruction: Instruction) -> Refusal | None:
    """Why this hospital does not take an instruction; None: a person approved what it asks for."""
    try:
        _let_in(site, instruction)
    except NotTaken as err:
        logger.warning("round %d is not taken: %s", instruction.round_number, err)
        return err.refusal
    return None


def why_not_delivered(site: SiteConfig, request: DeliveryRequest) -> Refusal | None:
    """Why a finished update does not leave; None: its study's plan is still approved."""
    try:
        require_approved(site, request.study_digest)
    except NotTaken as err:
        logger.warning("round %d is not delivered: %s", request.round_number, err)
        return err.refusal
    return None


def require_approved(site: SiteConfig, study_digest: str) -> None:
    """Go on while something of a study is approved.

    Raises:
        NotTaken: nothing is, or not any more.
    """
    if approval_of_study(site.state_path, study_digest) is None:
        reason = "what the hospital approved of this study was withdrawn: the update stays"
        raise NotTaken(RefusalCode.UNAPPROVED, reason)


def checked_plan(site: SiteConfig, signed: SignedPlan) -> Plan:
    """A plan that this hospital could take part in today, whether or not somebody approved it.

    Raises:
        NotTaken: it is forged, unreadable, over, or made for another program.
    """
    if not signed.is_signed_by(_authority_key(site)):
        raise _refused("the plan is not signed by the study authority that this hospital joined")
    try:
        plan = parse_plan(signed.text)
    except UnusablePlan as err:
        raise _refused(f"{err}: coordinator and hospital install the same release") from err
    if datetime.now(UTC).date() > plan.ends:
        raise _refused(f"the plan ended on {plan.ends}: {ASK_COORDINATOR}")
    installed = installed_code()
    if plan.code_digest != installed:
        raise _refused(
            f"the plan was made for the program {plan.code_digest[:SHOWN_DIGITS]}, here "
            f"{installed[:SHOWN_DIGITS]} is installed: coordinator and hospital install the same release"
        )
    return plan


def arrive(site: SiteConfig, signed: SignedPlan) -> None:
    """Keep a plan for a person to look at.

    Raises:
        NotTaken: nobody here could approve it.
    """
    keep(site, signed, checked_plan(site, signed))


def keep(site: SiteConfig, signed: SignedPlan, plan: Plan) -> None:
    """Keep a plan that was checked; the log says when it came first."""
    if not keep_plan(site.state_path, signed, plan):
        return
    logger.info("plan %s of study %s arrived", signed.digest, plan.study.name)
    facts = {"study": plan.study.name, "ends": plan.ends.isoformat()}
    note(site.state_path, Event.PLAN_ARRIVED, actor=COORDINATOR, plan=signed.digest, facts=facts)


def _let_in(site: SiteConfig, instruction: Instruction) -> None:
    """Raise the reason why nobody here agreed to an instruction; what nobody could agree to goes into the log."""
    signed = instruction.plan
    try:
        if signed is None:
            raise _refused(f"the instruction came without a plan: {ASK_COORDINATOR}")
        plan = checked_plan(site, signed)
        for problem in _not_covered(plan, instruction):
            raise _refused(f"{problem}: {ASK_COORDINATOR}")
        _check_age(site, plan)
        keep(site, signed, plan)
        _check_policy(site)
        _check_frozen(site, signed, plan, instruction)
    except NotTaken as err:
        digest = signed.digest if signed else ""
        facts: Facts = {"round": instruction.round_number, "reason": _short(err.refusal.reason)}
        note_news(site.state_path, Event.PLAN_REFUSED, actor=PROGRAM, plan=digest, facts=facts)
        raise
    _check_approval(site, signed, plan)


def _not_covered(plan: Plan, instruction: Instruction) -> Iterator[str]:
    """What an instruction asks for beyond its plan."""
    study, number = plan.study, instruction.round_number
    if study_json(study) != instruction.study:
        yield "the instruction asks for another study than its plan"
    if not 1 <= number <= study.num_rounds:
        yield f"the plan has {study.num_rounds} rounds, the instruction asks for round {number}"
        return
    _, stage = study.stage_of(number)
    if stage.kind == "lora" and study.stages[0].kind == "lora":
        if instruction.base_digest != plan.base_digest:
            yield "the instruction names another frozen model than its plan"
    elif number == 1 and plan.base_digest not in {"", instruction.weights.digest}:
        yield "the instruction starts from another model than its plan"


def _check_policy(site: SiteConfig) -> None:
    if site.privacy_path is None or not site.privacy_path.exists():
        reason = (
            "the hospital has no policy file, and without one nothing is trained: its data-protection officer writes one "
            "and its data manager sets privacy_path"
        )
        raise NotTaken(RefusalCode.POLICY, reason)


def _check_age(site: SiteConfig, plan: Plan) -> None:
    """Refuse a plan that was overtaken by one that somebody here approved."""
    approved = approval_of_study(site.state_path, plan.study_digest)
    if approved is not None and plan.issued < approved.issued:
        raise _refused("the plan is older than the one that this hospital approved")


def _check_frozen(
    site: SiteConfig, signed: SignedPlan, plan: Plan, instruction: Instruction
) -> None:
    """Refuse another frozen model than the first that came for the stage, where the study makes it and no plan can name it."""
    study, digest = plan.study, instruction.base_digest
    index, stage = study.stage_of(instruction.round_number)
    is_named = study.stages[0].kind == "lora"
    if stage.kind != "lora" or is_named or not digest or not _is_approved(site, signed, plan):
        return
    first = first_frozen(site.state_path, signed.digest, index, digest)
    if first != digest:
        raise _refused(
            f"under this plan stage {index + 1} began with the frozen model {first[:SHOWN_DIGITS]}, and the instruction names "
            f"{digest[:SHOWN_DIGITS]}: {ASK_COORDINATOR}"
        )


def _is_approved(site: SiteConfig, signed: SignedPlan, plan: Plan) -> bool:
    approved = approval_of_study(site.state_path, plan.study_digest)
    return approved is not None and approved.digest == signed.digest


def _check_approval(site: SiteConfig, signed: SignedPlan, plan: Plan) -> None:
    if not _is_approved(site, signed, plan):
        reason = (
            f"plan {signed.digest[:SHOWN_DIGITS]} waits for approval: somebody who may decide types `fedcxr hospital "
            "review` at the hospital"
        )
        raise NotTaken(RefusalCode.UNAPPROVED, reason)


def _authority_key(site: SiteConfig) -> bytes:
    path = site.authority_path
    try:
        if path is not None:
            return path.read_bytes()
    except OSError as err:
        logger.warning("the study authority's key cannot be read: %s", err.strerror)
    reason = (
        "the hospital does not know the study authority's key: its data manager joins the study, or sets authority_path "
        "to the authority.pub of the coordinator"
    )
    raise _refused(reason)


def _refused(reason: str) -> NotTaken:
    return NotTaken(RefusalCode.PLAN, reason)


def _short(reason: str) -> str:
    """As much of a reason as the log takes."""
    return "".join(letter if letter.isprintable() else " " for letter in reason[:200])

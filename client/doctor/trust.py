"""What the hospital has agreed to and can show: its plans, its program, its log, its certificate."""

from datetime import UTC, datetime

from client.doctor.hospital import Hospital
from client.evidence.check import log_problems
from client.evidence.losses import accepted_losses
from client.evidence.witness import authority_key as key_of_authority
from client.plans.store import KeptPlan, kept_plans
from federation.code_digest import installed_code
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn
from federation.plan import SHOWN_DIGITS


def evidence(hospital: Hospital) -> Finding:
    """Is the log of what happened here whole, and the one that the coordinator witnessed?"""
    problems = log_problems(hospital.site.state_path, key_of_authority(hospital.site))
    if problems:
        return fail(
            problems[0],
            Job.OFFICER,
            f"type: fedcxr hospital audit verify {hospital.site_path}; nothing is trained until it is settled",
        )
    losses = accepted_losses(hospital.site.state_path)
    if losses:
        return ok(
            f"the log of what happened here is whole but for {len(losses)} loss(es) that a person answers for; the last is "
            f"entry {losses[-1].number}, by {losses[-1].name}"
        )
    return ok("the log of what happened here is whole")


def authority_key(hospital: Hospital) -> Finding:
    """Is the key there that says which plans are the study authority's?"""
    path = hospital.site.authority_path
    if path is None or not path.is_file():
        return fail(
            "the study authority's key is not here: no plan can be told from a forged one",
            Job.DATA_MANAGER,
            "join the study (fedcxr hospital join CODE), or set authority_path to the coordinator's authority.pub",
        )
    return ok("the study authority's key is here")


def plan(hospital: Hospital) -> Finding:
    """Has somebody here agreed to a plan that is in force?"""
    kept = kept_plans(hospital.site.state_path)
    if not kept:
        return skipped("no plan has arrived yet; the coordinator sends it with the first round")
    approved = [each for each in kept if each.approval is not None]
    if any(_is_in_force(each) for each in approved):
        return ok(f"{len(approved)} plan(s) approved, one of them in force")
    if approved:
        return warn(
            f"the approved plan of {approved[0].plan.study.name} ended on {approved[0].plan.ends}",
            Job.COORDINATOR,
            "issue a new plan, if the study is to go on",
        )
    digest = kept[0].digest[:SHOWN_DIGITS]
    return fail(
        f"plan {digest} of {kept[0].plan.study.name} waits for approval",
        Job.OFFICER,
        f"type: fedcxr hospital review {hospital.site_path}",
    )


def code(hospital: Hospital) -> Finding:
    """Is the installed program the one that the plan was made for?"""
    kept = kept_plans(hospital.site.state_path)
    if not kept:
        return skipped("no plan has arrived yet that names a program")
    installed, wanted = installed_code(), kept[0].plan.code_digest
    if installed != wanted:
        return fail(
            f"the plan is for the program {wanted[:SHOWN_DIGITS]}, installed is {installed[:SHOWN_DIGITS]}",
            Job.MACHINE,
            "install the coordinator's release anew; whoever changed a file of the program takes that back",
        )
    return ok(f"the installed program is the plan's ({installed[:SHOWN_DIGITS]})")


def _is_in_force(kept: KeptPlan) -> bool:
    return kept.plan.ends >= datetime.now(UTC).date()

"""A named person agrees to a plan, by its digest."""

from client.config import SiteConfig
from client.evidence.log import Event, account, note
from client.plans.gate import checked_plan
from client.plans.store import Approval, KeptPlan, find_plan, put_approval
from client.refused import NotTaken

MAX_NAME = 100


class NotApproved(RuntimeError):
    """A plan that this hospital could not take part in if it were approved."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this plan cannot be approved: {reason}")


class NoName(ValueError):
    """An approval by nobody."""

    def __init__(self) -> None:
        super().__init__(
            'an approval needs the name of the person who decides: type --name "Dr ..." with up to '
            f"{MAX_NAME} printable letters"
        )


def approve(site: SiteConfig, digest: str, *, name: str) -> tuple[KeptPlan, Approval]:
    """Agree to a plan that arrived here; earlier plans of its study count no more.

    Args:
        site: This hospital.
        digest: Of the plan, or its beginning.
        name: Of the person who decides.

    Raises:
        NoSuchPlan: the digest names none, or more than one.
        NoName: nobody can be called that.
        NotApproved: the plan is forged, over, or made for another program.
    """
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise NoName
    kept = find_plan(site.state_path, digest)
    try:
        plan = checked_plan(site, kept.signed)
    except NotTaken as err:
        raise NotApproved(err.refusal.reason) from err
    facts = {"study": plan.study.name, "account": account(), "ends": plan.ends.isoformat()}
    note(site.state_path, Event.PLAN_APPROVED, actor=name, plan=kept.digest, facts=facts)
    return kept, put_approval(site.state_path, kept, name)

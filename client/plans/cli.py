"""The commands with which people at a hospital look through plans and agree to them."""

from typing import TYPE_CHECKING, Annotated

import typer

from client.arguments import Json, Site
from federation.terminal import emit

if TYPE_CHECKING:
    from client.plans.store import KeptPlan

app = typer.Typer()

Digest = Annotated[
    str, typer.Argument(help="The plan's digest as `review` shows it, or its first 16 digits.")
]


@app.command()
def review(
    site: Site,
    digest: Annotated[
        str | None, typer.Option(help="Of the plan; by default the one that waits for approval.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a study's plan: what differs from the last one, what would leave, and what stands against it here."""
    from client.config import load_site
    from client.plans.review import review as look_through
    from client.plans.review import review_text
    from client.plans.store import find_plan, plan_to_review

    profile = load_site(site)
    state = profile.state_path
    kept = plan_to_review(state) if digest is None else find_plan(state, digest)
    found = look_through(profile, kept)
    emit(found.facts, review_text(found), as_json=as_json)


@app.command()
def approve(
    digest: Digest,
    site: Site,
    name: Annotated[str, typer.Option(help="Of the person who decides; it goes into the log.")],
    as_json: Json = False,
) -> None:
    """Agree to a plan: from now on this hospital takes part in its rounds, if nothing else stands against them."""
    from client.config import load_site
    from client.plans.approving import approve as agree
    from client.plans.review import review as look_through

    profile = load_site(site)
    kept, approval = agree(profile, digest, name=name)
    against = look_through(profile, kept).against
    facts = {
        "digest": kept.digest,
        "study": kept.plan.study.name,
        "approved_by": approval.name,
        "against": list(against),
    }
    text = (
        f"{profile.site_name}: {approval.name} approved plan {kept.digest} of study "
        f"{kept.plan.study.name}, until {kept.plan.ends}"
    )
    head = ["What still stands against it here, so that its rounds are refused:"] if against else []
    text = "\n".join([text, *head, *(f"  {each}" for each in against)])
    emit(facts, text, as_json=as_json)


@app.command()
def plans(site: Site, as_json: Json = False) -> None:
    """List the plans that arrived, and who approved which."""
    from client.config import load_site
    from client.plans.store import kept_plans

    profile = load_site(site)
    kept = kept_plans(profile.state_path)
    facts = {"site": profile.site_name, "plans": [_facts(each) for each in kept]}
    lines = [_line(each) for each in kept] or [f"{profile.site_name}: no plan has arrived"]
    emit(facts, "\n".join(lines), as_json=as_json)


def _facts(kept: "KeptPlan") -> dict[str, object]:
    approval = kept.approval
    return {
        "digest": kept.digest,
        "study": kept.plan.study.name,
        "arrived": kept.arrived,
        "ends": kept.plan.ends.isoformat(),
        "approved_by": approval.name if approval else None,
        "approved": approval.seconds if approval else None,
    }


def _line(kept: "KeptPlan") -> str:
    approval = kept.approval
    state = f"approved by {approval.name}" if approval else "waits for approval"
    return f"{kept.digest}  {kept.plan.study.name}  until {kept.plan.ends}  {state}"

"""The hospital's pages that show: today, data, plans, what left, ledger, log."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from client.config import SiteConfig, load_site
from client.console.views import (
    budget_of,
    by_count,
    charge_name,
    data_of,
    evidence_of,
    log_entries,
    look,
    waiting_plans,
)
from client.evidence.receipts import Kept
from client.inspection.advice import FLAGS, LABEL_PROBLEMS, REFUSALS
from client.plans.review import review
from client.plans.store import KeptPlan, kept_plans
from federation.console.pages import Console, SignedIn
from federation.terminal import program

NUM_ENTRIES = 100
pages = APIRouter()


def site_of(request: Request) -> SiteConfig:
    """The hospital's profile, as it is on the disk now.

    Raises:
        ConfigError: it cannot be used.
    """
    path: Path = request.app.state.site_path
    return load_site(path)


Site = Annotated[SiteConfig, Depends(site_of)]


@pages.get("/")
def today(request: Request, console: SignedIn, site: Site) -> Response:
    """How the hospital stands, and the means to pause and stop."""
    facts = {"today": look(site), "program": program(), "site_path": request.app.state.site_path}
    return console.show(request, "today.html", facts)


@pages.get("/data")
def data(request: Request, console: SignedIn, site: Site) -> Response:
    """What the last ingest found."""
    found = data_of(site)
    tally = found.tally
    facts = {
        "data": found,
        "refused": by_count(tally.refused, REFUSALS) if tally else [],
        "flagged": by_count(tally.flags, FLAGS) if tally else [],
        "problems": by_count(tally.label_problems, LABEL_PROBLEMS) if tally else [],
        "program": program(),
        "site_path": request.app.state.site_path,
    }
    return console.show(request, "data.html", facts)


@pages.get("/plans")
def plans(request: Request, console: SignedIn, site: Site) -> Response:
    """The plans that arrived, those that wait first."""
    kept = kept_plans(site.state_path)
    waiting = waiting_plans(kept)
    facts = {
        "waiting": waiting,
        "approved": [each for each in kept if each.approval is not None],
        "others": [each for each in kept if each.approval is None and each not in waiting],
    }
    return console.show(request, "plans.html", facts)


@pages.get("/plans/{digest}")
def one_plan(request: Request, digest: str, console: SignedIn, site: Site) -> Response:
    """A plan, what differs from the last one, what would leave, and the form to approve it."""
    return show_plan(request, console, site, plan_of(site, digest))


@pages.get("/left")
def left(request: Request, console: SignedIn, site: Site) -> Response:
    """Everything that left, round by round, and whether the record of it is sound."""
    return console.show(request, "left.html", {"evidence": evidence_of(site)})


@pages.get("/left/{digest}")
def one_receipt(request: Request, digest: str, console: SignedIn, site: Site) -> Response:
    """One receipt, to the last tensor."""
    return console.show(request, "receipt.html", {"kept": _receipt(site, digest)})


@pages.get("/ledger")
def ledger(request: Request, console: SignedIn, site: Site) -> Response:
    """What the patients' privacy budget was spent on, and what is left."""
    budget = budget_of(site)
    book = budget.book if budget else None
    facts = {
        "budget": budget,
        "name_of": charge_name,
        "charges": list(book.charges.values())[::-1] if book else [],
        "site_path": request.app.state.site_path,
    }
    return console.show(request, "ledger.html", facts)


@pages.get("/log")
def log(request: Request, console: SignedIn, site: Site, before: int = 0) -> Response:
    """Who did what, when, and under which plan."""
    entries = log_entries(site, before=max(0, before), limit=NUM_ENTRIES)
    names = {kept.digest: kept.plan.study.name for kept in kept_plans(site.state_path)}
    facts = {"entries": entries, "names": names, "before": before}
    return console.show(request, "log.html", facts)


def show_plan(
    request: Request,
    console: Console,
    site: SiteConfig,
    kept: KeptPlan,
    *,
    complaint: str = "",
    name: str = "",
    status: int = 200,
) -> Response:
    """The page of one plan; after a form that approved nothing with why, and with the name that was written."""
    facts = {
        "kept": kept,
        "review": review(site, kept),
        "is_waiting": kept in waiting_plans(kept_plans(site.state_path)),
        "complaint": complaint,
        "name": name,
    }
    return console.show(request, "plan.html", facts, status=status)


def plan_of(site: SiteConfig, digest: str) -> KeptPlan:
    """The plan of an address."""
    for kept in kept_plans(site.state_path):
        if kept.digest == digest:
            return kept
    raise HTTPException(404)


def _receipt(site: SiteConfig, digest: str) -> Kept:
    for kept in evidence_of(site).receipts:
        if kept.digest == digest:
            return kept
    raise HTTPException(404)

"""What a person at the hospital can do on a page: approve a plan, pause, resume, stop.

All of it goes the way of the commands, into the same log. Withdrawing, which throws work away for good, is typed.
"""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from client.config import SiteConfig
from client.console.pages import Site, plan_of, show_plan
from client.control.acts import pause, resume, stop
from client.evidence.log import account
from client.plans.approving import MAX_NAME, NoName, NotApproved, approve
from federation.console.pages import Form, SignedIn, see

acts = APIRouter()


@acts.post("/plans/{digest}/approve")
def approve_plan(
    request: Request, digest: str, console: SignedIn, site: Site, form: Form
) -> Response:
    """Agree to the plan that was shown; the person's name goes into the log."""
    kept, name = plan_of(site, digest), form.get("name", "")
    complaint = _approve(site, digest, name=name, seen=form.get("seen", ""))
    if not complaint:
        return see(f"/plans/{digest}")
    return show_plan(request, console, site, kept, complaint=complaint, name=name, status=400)


@acts.post("/pause")
def pause_here(_console: SignedIn, site: Site, _form: Form) -> Response:
    """Let nothing leave until somebody resumes."""
    pause(site.state_path, _actor())
    return see("/")


@acts.post("/resume")
def resume_here(_console: SignedIn, site: Site, _form: Form) -> Response:
    """Take part again."""
    resume(site.state_path, _actor())
    return see("/")


@acts.post("/stop")
def stop_here(_console: SignedIn, site: Site, _form: Form) -> Response:
    """End everything that runs here for the federation; answered when it is gone."""
    stop(site.state_path, _actor(), on_acknowledged=lambda: None)
    return see("/")


def _approve(site: SiteConfig, digest: str, *, name: str, seen: str) -> str:
    """Approve; else why nothing was."""
    if seen != digest:
        return "Nothing was approved: tick that you have read what would leave."
    try:
        approve(site, digest, name=name)
    except NoName:
        return f"Nothing was approved: write who decides, in at most {MAX_NAME} letters."
    except NotApproved as err:
        return str(err)
    return ""


def _actor() -> str:
    return f"{account()}, console"

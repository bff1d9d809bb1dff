"""What a person at the hospital can do on a page: approve a plan, pause, resume, stop.

All of it goes the way of the commands, into the same log. Withdrawing, which throws work away for good, is typed.
"""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from client.console.pages import Site, plan_of, show_plan
from client.control.acts import pause, resume, stop
from client.evidence.log import account
from client.plans.approving import NoName, NotApproved, approve
from federation.console.pages import Form, SignedIn, see

acts = APIRouter()


@acts.post("/plans/{digest}/approve")
def approve_plan(
    request: Request, digest: str, console: SignedIn, site: Site, form: Form
) -> Response:
    """Agree to the plan that was shown; the person's name goes into the log."""
    kept = plan_of(site, digest)
    if form.get("seen") != digest:
        complaint = "Nothing was approved: tick that you have read what would leave."
        return show_plan(request, console, site, kept, complaint=complaint, status=400)
    try:
        approve(site, digest, name=form.get("name", ""))
    except (NoName, NotApproved) as err:
        return show_plan(request, console, site, kept, complaint=str(err), status=400)
    return see(f"/plans/{digest}")


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


def _actor() -> str:
    return f"{account()}, console"

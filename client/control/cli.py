"""What a hospital's people type to pause, stop or leave; each says what it did and what lifts it again."""

from typing import Annotated

import typer

from client.arguments import Json, Site
from federation.terminal import emit

app = typer.Typer()

Name = Annotated[
    str | None,
    typer.Option(
        "--name", help="Who decided it, for the hospital's log; by default the account that types."
    ),
]


@app.command()
def pause(site: Site, name: Name = None, as_json: Json = False) -> None:
    """Let nothing leave from now on, also not of a round under way, until resumed; stays connected."""
    from client.config import load_site
    from client.control.acts import pause as run_pause
    from client.evidence.log import account

    profile = load_site(site)
    run_pause(profile.state_path, name or account())
    emit(
        {"site": profile.site_name, "state": "paused"},
        f"{profile.site_name}: paused; nothing leaves until you type `fedcxr hospital resume`",
        as_json=as_json,
    )


@app.command()
def resume(site: Site, name: Name = None, as_json: Json = False) -> None:
    """Take part again after a pause or a stop."""
    from client.config import load_site
    from client.control.acts import resume as run_resume
    from client.control.gate import gate_of
    from client.control.running import LOCK_NAME
    from client.evidence.log import account
    from federation.files import is_locked

    profile = load_site(site)
    run_resume(profile.state_path, name or account())
    closed, runs = gate_of(profile).closed(), is_locked(profile.state_path / LOCK_NAME)
    state = "takes part again" if closed is None else closed.sentence
    if not runs:
        state = f"{state}, once `fedcxr hospital up` runs" if closed is None else state
    emit(
        {"site": profile.site_name, "state": "open" if closed is None else "closed", "runs": runs},
        f"{profile.site_name}: {state}",
        as_json=as_json,
    )


@app.command()
def stop(site: Site, name: Name = None, as_json: Json = False) -> None:
    """End everything that runs here, within seconds and without the network; a restart does not undo it."""
    from client.config import load_site
    from client.control.acts import stop as run_stop
    from client.evidence.log import account

    def on_acknowledged() -> None:
        if not as_json:
            emit({}, f"{profile.site_name}: nothing leaves any more; ending", as_json=False)

    profile = load_site(site)
    done = run_stop(profile.state_path, name or account(), on_acknowledged=on_acknowledged)
    facts = {
        "site": profile.site_name,
        "state": "stopped",
        "was_running": done.was_running,
        "was_killed": done.was_killed,
        "acknowledged_seconds": round(done.acknowledged_seconds, 2),
        "gone_seconds": round(done.gone_seconds, 2),
    }
    how = (
        f"everything is gone after {done.gone_seconds:.1f} s" if done.was_running else "nothing ran"
    )
    emit(
        facts,
        f"{profile.site_name}: stopped, {how}; it takes part again once you type `fedcxr hospital resume` "
        "and `fedcxr hospital up`",
        as_json=as_json,
    )


@app.command()
def withdraw(
    site: Site,
    study: Annotated[
        str | None,
        typer.Option(help="Digest or name of a study, as `fedcxr hospital plans` shows; else all."),
    ] = None,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Leave a study, or all: approvals are taken back and updates that were ready are deleted."""
    from client.config import load_site
    from client.control.withdraw import withdraw as run_withdraw
    from client.evidence.log import Event, account, note
    from client.supernode import NodeState, node_state

    profile, by = load_site(site), name or account()
    told = node_state(profile.state_path) is NodeState.REGISTERED
    done = run_withdraw(profile, study, by)
    facts: dict[str, str | int] = {
        "study": done.study,
        "approvals_taken_back": done.num_approvals,
        "deleted_bytes": done.num_bytes,
    }
    when = "with its next question" if told else "when this hospital is connected again"
    emit(
        {"site": profile.site_name, "state": "withdrawn", **facts, "connected": told},
        f"{profile.site_name}: withdrawn from {'every study' if study is None else study}; "
        f"{done.num_approvals} approvals taken back, {done.num_bytes / 1e6:.1f} MB deleted. The coordinator is told "
        f"{when}; what left before stays with it. `fedcxr hospital rejoin` undoes it",
        as_json=as_json,
    )
    note(profile.state_path, Event.WITHDRAWN, actor=by, facts=facts)


@app.command()
def rejoin(site: Site, name: Name = None, as_json: Json = False) -> None:
    """Take part in studies again after withdrawing; their plans have to be approved anew."""
    from client.config import load_site
    from client.control.withdraw import rejoin as run_rejoin
    from client.evidence.log import Event, account, note

    profile, by = load_site(site), name or account()
    note(profile.state_path, Event.RESUMED, actor=by, facts={"withdrawals": "lifted"})
    run_rejoin(profile)
    emit(
        {"site": profile.site_name, "state": "rejoined"},
        f"{profile.site_name}: may take part in studies again; type `fedcxr hospital review` to see what waits for approval",
        as_json=as_json,
    )

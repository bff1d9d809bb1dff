"""The coordinator's commands about who takes part: init, invite, roster, revoke, next-authority."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit, program, shown
from server.arguments import Json, State, usual_state

Roster = Annotated[
    Path | None,
    typer.Option(help="Folder of hospitals' public keys, as for `up`; STATE/roster by default."),
]


def init(
    host: Annotated[str, typer.Option(help="Name or address by which hospitals reach it.")],
    state: State,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Public port.")] = 8443,
    listen: Annotated[
        str | None,
        typer.Option(help="Address of this machine to listen on; by default all, or loopback."),
    ] = None,
    image_size: Annotated[
        int, typer.Option(min=32, help="Side of the radiographs of its studies, in pixels.")
    ] = 512,
    move: Annotated[bool, typer.Option("--move", help="Change an address once settled.")] = False,
    as_json: Json = False,
) -> None:
    """Make the study authority, the public port's certificate and the roster; once, before anything else."""
    from federation.invitation import spoken
    from server.enrolment.opening import Opening, listens_on
    from server.enrolment.steps import open_coordinator

    opening = Opening(
        host=host, port=port, listen=listen or listens_on(host), image_size=image_size
    )
    opened = open_coordinator(state.resolve(), opening, move=move)
    fingerprint = spoken(opened.fingerprint)
    facts = {"address": opening.address, "state": str(state), "fingerprint": fingerprint}
    text = (
        f"coordinator {opening.address} has its authority, fingerprint {fingerprint}\n"
        f"Next, and after every restart of this machine: {_command('up', state)}\n"
        f"For every hospital: {_command('invite NAME', state)}"
    )
    emit(facts, text, as_json=as_json)


def invite(
    name: Annotated[str, typer.Argument(help='The hospital\'s name, such as "St Mary".')],
    state: State,
    roster: Roster = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="It is a member already and joins anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a one-time code with which a hospital joins within 72 hours, and the fingerprint to read out to it."""
    from federation.invitation import spoken
    from server.enrolment.steps import invite_hospital

    guest = invite_hospital(state.resolve(), _roster(state, roster), name, replace=replace)
    invitation, fingerprint = guest.invitation, spoken(guest.invitation.fingerprint)
    facts = {
        "site": invitation.site,
        "code": invitation.code,
        "fingerprint": fingerprint,
        "expires": guest.expires.isoformat(timespec="seconds"),
    }
    text = (
        f"{invitation.site} joins with this code, once, until {guest.expires:%Y-%m-%d %H:%M %Z}. Send it by e-mail:\n\n"
        f"  fedcxr hospital join {invitation.code} --data FOLDER\n\n"
        f"Read this out by telephone; the hospital sees the same when it joins: {fingerprint}"
    )
    emit(facts, text, as_json=as_json)


def show_roster(state: State, roster: Roster = None, as_json: Json = False) -> None:
    """Show the hospitals: for how many days their certificates last, and when they called last."""
    from dataclasses import asdict

    from server.endpoint import CoordinatorNotRunning
    from server.enrolment.members_table import members_table, table_text

    if not state.is_dir():
        raise CoordinatorNotRunning(state)
    rows = members_table(state.resolve(), _roster(state, roster))
    emit({"hospitals": [asdict(row) for row in rows]}, table_text(rows), as_json=as_json)


def revoke(
    site: Annotated[str, typer.Argument(help="The hospital, as `roster` calls it.")],
    state: State,
    roster: Roster = None,
    as_json: Json = False,
) -> None:
    """Shut a hospital out for good: from the next second on none of its calls pass. It may be invited anew."""
    from server.endpoint import CoordinatorNotRunning
    from server.enrolment.register import revoke as take_back

    if not state.is_dir():
        raise CoordinatorNotRunning(state)
    take_back(state.resolve(), _roster(state, roster), site)
    text = (
        f"{site} is shut out: its key never counts again. What it contributed to finished rounds stays in the model. "
        f"To have it back: {_command(f'invite {site}', state)}"
    )
    emit({"site": site, "revoked": True}, text, as_json=as_json)


def next_authority(state: State, as_json: Json = False) -> None:
    """Have the authority of all certificates followed by the next one now; `up` does it by itself, two years before its end."""
    from federation.invitation import spoken
    from server.enrolment.steps import fingerprint_of
    from server.enrolment.steps import next_authority as follow

    until = follow(state.resolve())
    fingerprint = spoken(fingerprint_of(state.resolve()))
    text = (
        f"the next authority is in force until {until:%Y-%m-%d}, fingerprint {fingerprint}\n"
        "The one before vouches for it: hospitals that take part believe it within an hour, and note it in their logs. "
        "Codes that were given out stay good."
    )
    facts = {"fingerprint": fingerprint, "until": until.isoformat(timespec="seconds")}
    emit(facts, text, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add these commands to the coordinator's."""
    app.command()(init)
    app.command()(invite)
    app.command("roster")(show_roster)
    app.command()(revoke)
    app.command("next-authority")(next_authority)


def _roster(state: Path, roster: Path | None) -> Path:
    return (roster or state / "roster").resolve()


def _command(verb: str, state: Path) -> str:
    """What to type, as it stands; a state folder in its usual place need not be named."""
    where = "" if state == usual_state() else f" --state {shown(state)}"
    return f"{program()} coordinator {verb}{where}"

"""The hospital's commands about its membership: join, renew."""

from pathlib import Path
from typing import Annotated

import typer

from client.arguments import Json, Site
from federation.terminal import emit, program, shown


def join(
    code: Annotated[str, typer.Argument(help="What `fedcxr coordinator invite` printed.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with the hospital's DICOM files; it is only read."),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Folder for the profile, the policy and the keys; made if missing.")
    ] = Path(),
    policy: Annotated[
        Path | None,
        typer.Option(help="The data-protection officer's policy, to be copied; else the example."),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(help="http://host:port of the proxy that leads out; else HTTPS_PROXY."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make this hospital's keys here, have them certified by the coordinator, and write its profile and policy."""
    from client.enrolment.join import join as run_join
    from client.enrolment.kit import POLICY
    from federation.invitation import read_invitation, spoken

    joined = run_join(
        read_invitation(code),
        folder.resolve(),
        data_path=data.resolve() if data else None,
        policy=policy,
        proxy=proxy,
    )
    fingerprint, profile = spoken(joined.fingerprint), shown(joined.profile)
    facts = {
        "site": joined.site.site_name,
        "coordinator": joined.site.coordinator,
        "fingerprint": fingerprint,
        "profile": str(joined.profile),
    }
    named = "" if profile == Path("site.yaml") else f" {profile}"
    text = (
        f"{joined.site.site_name} has joined {joined.site.coordinator}.\n"
        f"Have the coordinator read its fingerprint out by telephone. It must be: {fingerprint}\n"
        f"The data-protection officer reads {profile.with_name(POLICY)}, the data manager {profile}.\n"
        f"Next: {program()} hospital ingest{named}\n"
        f"Then, and after every restart of this machine: {program()} hospital up{named}"
    )
    emit(facts, text, as_json=as_json)


def renew(site: Site, as_json: Json = False) -> None:
    """Have this hospital's certificate renewed now, and follow the coordinator's authority; `up` does both by itself."""
    from client.config import load_site
    from client.enrolment.renewal import renew as run_renew

    profile = load_site(site)
    until = run_renew(profile)
    emit(
        {"site": profile.site_name, "until": until.isoformat(timespec="seconds")},
        f"{profile.site_name}: the certificate is in force until {until:%Y-%m-%d}",
        as_json=as_json,
    )


def register(app: typer.Typer) -> None:
    """Add these commands to the hospital's."""
    app.command()(join)
    app.command()(renew)

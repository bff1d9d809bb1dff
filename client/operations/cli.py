"""The hospital's commands for whoever keeps its node running."""

from pathlib import Path
from typing import Annotated

import typer

from client.arguments import Json, Site
from federation.exit_codes import ExitCode
from federation.service_options import BackupFile, WithKeys, tell_backup
from federation.terminal import emit, say, shown

app = typer.Typer()


@app.command()
def backup(
    file: BackupFile,
    site: Site,
    with_keys: WithKeys = False,
    as_json: Json = False,
) -> None:
    """Write one file from which this hospital's part can be had again; nothing of a patient is in it."""
    from client.operations.backup import backup as write

    contents = write(site, file, with_keys=with_keys)
    tell_backup(file, contents, as_json=as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup of a hospital.")],
    site: Site,
    as_json: Json = False,
) -> None:
    """Put a backup where the profile says; ingest and approve anew afterwards."""
    from client.operations.backup import restore as read

    done = read(file, site)
    facts = {
        "site": done.site.site_name,
        "made": done.contents.made,
        "left_out": done.contents.left_out,
        "kept_ledger": done.kept_ledger,
    }
    lines = [f"{done.site.site_name}: as it was at {done.contents.made}"]
    if done.kept_ledger:
        lines.append("the privacy ledger that was here knows more and stays")
    if done.contents.left_out:
        lines.append(
            f"put these back into {shown(done.site.state_path)}, or join anew: {', '.join(done.contents.left_out)}"
        )
    lines.append(
        "next: `fedcxr hospital ingest`, then approve the plan again (`fedcxr hospital review`)"
    )
    emit(facts, "\n".join(lines), as_json=as_json)


@app.command()
def metrics(site: Site, as_json: Json = False) -> None:
    """Print this hospital's numbers as Prometheus reads them; `up --metrics-port` serves them."""
    from client.config import load_site
    from client.metrics import HospitalMetrics
    from federation.metrics import facts_of, text_of

    collector = HospitalMetrics(site=load_site(site))
    if as_json:
        emit(facts_of(collector), "", as_json=True)
    else:
        say(text_of(collector).rstrip())


@app.command()
def health(site: Site, as_json: Json = False) -> None:
    """Say whether this hospital contributes; exit code 0: connected, and its last round was not its own failure."""
    from client.config import load_site
    from client.operations.health import health_of

    found = health_of(load_site(site))
    emit({"healthy": found.is_healthy, "why": found.why}, found.why, as_json=as_json)
    if not found.is_healthy:
        raise typer.Exit(ExitCode.NOT_READY)

"""The hospital's commands."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit, stop_on_signals

app = typer.Typer(no_args_is_help=True, help="Take part in a study without a radiograph leaving.")

Site = Annotated[Path, typer.Argument(help="The hospital's profile, as YAML.")]
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]
NOT_READY = 1


@app.command()
def ingest(site: Site, as_json: Json = False) -> None:
    """Read the data folder into the cache: what is usable, and why the rest is not."""
    from client.config import load_site
    from client.ingest import ingest as run_ingest
    from client.rounds import cache_path

    profile = load_site(site)
    tally = run_ingest(
        profile.data_path or profile.state_path / "received",
        labels_path=profile.labels_path,
        cache_path=cache_path(profile),
        secret_path=profile.state_path / "patient.secret",
        image_size=profile.image_size,
        findings=profile.findings,
    )
    emit(tally.to_json(), str(tally), as_json=as_json)


@app.command()
def up(site: Site, as_json: Json = False) -> None:
    """Connect to the coordinator and take part in its rounds, until stopped."""
    from client.config import load_site
    from client.supernode import serve

    def on_state(state: str) -> None:
        emit({"state": state}, f"{profile.site_name}: {state}", as_json=as_json)

    profile = load_site(site)
    with stop_on_signals() as stop:
        serve(profile, site.resolve(), stop=stop, on_state=on_state)


@app.command()
def status(site: Site, as_json: Json = False) -> None:
    """Say whether this hospital is connected; exit code 0 means registered and ready."""
    from client.config import load_site
    from client.supernode import node_state

    profile = load_site(site)
    state = node_state(profile.state_path)
    emit(
        {"site": profile.site_name, "state": state},
        f"{profile.site_name}: {state}",
        as_json=as_json,
    )
    if state != "registered":
        raise typer.Exit(NOT_READY)

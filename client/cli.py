"""The hospital's commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from client.arguments import Json, Site
from client.audit.cli import app as audit_app
from client.console.cli import app as console_app
from client.control.cli import app as control_app
from client.doctor.cli import app as doctor_app
from client.enrolment.cli import register as register_enrolment
from client.operations.cli import app as operations_app
from client.plans.cli import app as plans_app
from federation.exit_codes import ExitCode
from federation.service_options import MetricsPort
from federation.terminal import emit, stop_on_signals

app = typer.Typer(no_args_is_help=True, help="Take part in a study without a radiograph leaving.")

register_enrolment(app)
app.add_typer(plans_app)
app.add_typer(console_app)
app.add_typer(control_app)
app.add_typer(operations_app)
app.add_typer(audit_app, name="audit")
app.add_typer(doctor_app)  # also `fedcxr doctor`; every other command of a hospital is found here


@app.command()
def ingest(
    site: Site,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Reading processes; by default one a processor.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Read everything anew, also what is known.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read what is new into the cache, and say what is usable and why the rest is not."""
    from client.config import load_site
    from client.evidence.log import Event, account, note_news
    from client.intake.ingest import ingest as run_ingest
    from client.intake.progress import reading_bar

    profile = load_site(site)
    with reading_bar() as on_progress:
        done = run_ingest(profile, num_workers=workers, rebuild=rebuild, on_progress=on_progress)
    facts = {"usable": done.tally.num_usable, "read": done.num_read, "gone": done.num_gone}
    note_news(profile.state_path, Event.INGESTED, actor=account(), facts=facts)
    emit(done.to_json(), str(done), as_json=as_json)


@app.command()
def receive(
    site: Site,
    ingest_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MINUTES",
            help="Ingest in between; without it, ingest by hand or by a timer of the system.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let a PACS push radiographs here (DICOM C-STORE), until stopped; they wait for the next ingest."""
    from client.config import load_site
    from client.sources.periodic import every
    from client.sources.receiver import receive as run_receiver

    def tell(facts: Mapping[str, object], text: str) -> None:
        emit(
            {"site": profile.site_name} | dict(facts),
            f"{profile.site_name}: {text}",
            as_json=as_json,
        )

    profile = load_site(site)
    command = ("hospital", "ingest", str(site.resolve()), *(["--json"] if as_json else []))
    with stop_on_signals() as stop, every(ingest_every, command):
        run_receiver(profile, stop=stop, tell=tell)


@app.command()
def inspect(
    site: Site,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The page; by default inspect.html in the hospital's state folder."
        ),
    ] = None,
    refused_list: Annotated[
        Path | None,
        typer.Option(help="Also write a CSV that names every refused file and why. Keep it here."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed shows other radiographs.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what is in the cache on a page with counts and radiographs, which must stay in the hospital."""
    from client.config import load_site
    from client.inspection.page import inspect as inspect_cache
    from client.inspection.page import write_page
    from client.inspection.record_of_reading import write_refused_list

    profile = load_site(site)
    inspected = inspect_cache(profile)
    if refused_list is not None:
        write_refused_list(profile, refused_list)
    if as_json and out is None:
        emit(inspected.to_json(), "", as_json=True)
        return
    page = out or profile.state_path / "inspect.html"
    write_page(inspected, page, seed=seed)
    emit(inspected.to_json(), f"{inspected}\npage: {page}", as_json=as_json)


@app.command()
def up(site: Site, metrics_port: MetricsPort = 0, as_json: Json = False) -> None:
    """Connect to the coordinator and take part in its rounds, until stopped."""
    from client.config import load_site
    from client.operations.service import attended
    from client.supernode import serve

    def on_state(state: str) -> None:
        manager.ready(state)
        emit({"state": state}, f"{profile.site_name}: {state}", as_json=as_json)

    profile = load_site(site)
    with stop_on_signals() as stop, attended(profile, metrics_port=metrics_port) as manager:
        serve(profile, site.resolve(), stop=stop, on_state=on_state)


@app.command()
def status(site: Site, as_json: Json = False) -> None:
    """Say whether this hospital is connected; exit code 0 means registered and ready."""
    from client.config import load_site
    from client.control.gate import gate_of
    from client.supernode import node_state, what_it_waits_for

    profile = load_site(site)
    closed = gate_of(profile).closed()
    state = node_state(profile.state_path, gate_of(profile))
    reason = what_it_waits_for(profile.state_path) if state == "waiting" else ""
    reason = closed.sentence if closed else reason
    facts = {"site": profile.site_name, "state": state} | ({"reason": reason} if reason else {})
    text = f"{profile.site_name}: {state}: {reason}" if reason else f"{profile.site_name}: {state}"
    emit(facts, text, as_json=as_json)
    if state != "registered":
        raise typer.Exit(ExitCode.NOT_READY)


@app.command()
def ledger(
    site: Site,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only say whether it is whole; exit code 1 means no.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what this hospital's patients have spent of their privacy budget, on what, and what is left."""
    from client.ledger_cli import show_ledger

    if not show_ledger(site, verify=verify, as_json=as_json):
        raise typer.Exit(ExitCode.NOT_READY)

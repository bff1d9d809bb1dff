"""The coordinator's commands."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit, say, stop_on_signals

app = typer.Typer(no_args_is_help=True, help="Coordinate a study across hospitals.")

State = Annotated[
    Path, typer.Option("--state", help="Folder for everything the coordinator keeps.")
]
NOT_READY = 1
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]


@app.command()
def up(
    state: State,
    host: Annotated[str, typer.Option(help="Address of the public port.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Public port; 0 chooses one and keeps it.")] = 0,
    name: Annotated[
        list[str] | None, typer.Option(help="Name or address hospitals use; repeat for more.")
    ] = None,
    roster: Annotated[
        Path | None, typer.Option(help="Folder of hospitals' public keys; STATE/roster by default.")
    ] = None,
    share: Annotated[
        Path | None, typer.Option(help="Folder that gets a copy of the authority's certificate.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Open the public port and wait for hospitals, until stopped."""
    from server.endpoint import Endpoint
    from server.superlink import CoordinatorSettings, serve

    def ready(endpoint: Endpoint) -> None:
        facts = {
            "host": endpoint.host,
            "port": endpoint.port,
            "ca_path": str(endpoint.ca_path),
        }
        text = f"coordinator is ready on {endpoint.host}:{endpoint.port}"
        emit(facts, text, as_json=as_json)

    settings = CoordinatorSettings(
        state_path=state.resolve(),
        host=host,
        port=port,
        names=("localhost", "127.0.0.1", *(name or ())),
        roster_path=roster.resolve() if roster else None,
        share_path=share.resolve() if share else None,
    )
    with stop_on_signals() as stop:
        serve(settings, ready=ready, stop=stop)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="The study, as YAML.")],
    state: State,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the model that the study starts from, if it names one; needed once."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study to its end; typed again, go on after the last finished round."""
    from federation.config import load_study
    from server.endpoint import read_endpoint
    from server.export import model_path
    from server.progress import headline, show_progress
    from server.start import take_start
    from server.status import study_status
    from server.store import StudyStore
    from server.watch import run_to_end

    plan = load_study(study)
    read_endpoint(state.resolve())
    take_start(StudyStore.create(state.resolve(), plan), start)
    with show_progress(_silent if as_json else say) as on_change:
        store = run_to_end(state.resolve(), plan, on_change=on_change)
    status = study_status(store)
    facts = {"study": status.name, "rounds": status.committed, "model": str(model_path(store))}
    emit(facts, f"{headline(status)}\nmodel: {model_path(store)}", as_json=as_json)


@app.command()
def statistics(
    study: Annotated[Path, typer.Argument(help="The study, as YAML.")],
    state: State,
    graph: Annotated[
        Path | None,
        typer.Option(help="Graph of a label model, as YAML, whose arrows are to be counted."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for hospitals that are busy.")
    ] = 300.0,
    as_json: Json = False,
) -> None:
    """Ask every hospital how many patients of which kind it has; small counts stay there."""
    from federation.config import load_study
    from federation.label_graph import load_label_graph, pairs_of
    from server.statistics import gather
    from server.statistics_table import facts, render

    plan = load_study(study)
    pairs = pairs_of(load_label_graph(graph, plan.findings), plan.findings)
    answers = gather(state.resolve(), plan, pairs=pairs, wait_seconds=wait)
    content = {"study": plan.name, **facts(answers, plan.findings)}
    emit(content, render(answers, plan.findings), as_json=as_json)


@app.command()
def status(state: State, as_json: Json = False) -> None:
    """Show the coordinator and its studies; exit code 0 means that hospitals can connect, 1 that they cannot."""
    from dataclasses import asdict

    from server.endpoint import CoordinatorNotRunning, read_endpoint
    from server.progress import headline
    from server.status import study_status
    from server.store import all_studies

    if not state.is_dir():
        raise CoordinatorNotRunning(state)
    try:
        endpoint = read_endpoint(state.resolve())
        lines = [f"coordinator: up on {endpoint.host}:{endpoint.port}"]
    except CoordinatorNotRunning:
        endpoint, lines = None, [f"coordinator: not running in {state}"]
    studies = [study_status(store) for store in all_studies(state.resolve())]
    for each in studies:
        lines += [headline(each), *([f"  {each.reason}"] if each.reason else [])]
        lines += [
            f"  {part.site}: {part.state} {part.reason}".rstrip() for part in each.latest_parts
        ]
    facts = {
        "up": endpoint is not None,
        "port": endpoint.port if endpoint else None,
        "studies": [asdict(each) for each in studies],
    }
    emit(facts, "\n".join(lines), as_json=as_json)
    if endpoint is None:
        raise typer.Exit(NOT_READY)


def _silent(_line: str) -> None:
    """Say nothing: the result follows as JSON."""

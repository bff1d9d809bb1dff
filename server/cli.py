"""The coordinator's commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import server.enrolment.cli
from federation.exit_codes import ExitCode
from federation.service_options import MetricsPort
from federation.terminal import emit, program, say, shown, stop_on_signals
from server.arguments import Json, State
from server.console.cli import app as console_app
from server.doctor.cli import app as doctor_app
from server.evidence.cli import app as evidence_app
from server.operations.cli import app as operations_app
from server.plans.cli import app as plans_app
from server.registry.cli import app as registry_app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.config import StudyConfig

app = typer.Typer(no_args_is_help=True, help="Coordinate a study across hospitals.")
app.add_typer(plans_app)
app.add_typer(registry_app)
app.add_typer(console_app)
app.add_typer(doctor_app)
app.add_typer(operations_app)
app.add_typer(evidence_app)

MaxScratch = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="GB of hospitals' changes that may wait on the disk at a time; as many as fit by default.",
    ),
]
Bucket = Annotated[
    str | None,
    typer.Option(help="URL of the bucket through which tensors travel, instead of the port."),
]
ToRun = Annotated[
    list[Path] | None,
    typer.Option("--run", help="A study to run, as YAML, as `run` would; repeat for more."),
]

server.enrolment.cli.register(app)


@app.command()
def up(
    state: State,
    listen: Annotated[
        str | None,
        typer.Option(help="Address to listen on; as `init` settled by default."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Public port, as `init` settled by default; 0 chooses one and keeps it."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Name or address hospitals use; repeat for more.")
    ] = None,
    roster: Annotated[
        Path | None, typer.Option(help="Folder of hospitals' public keys; STATE/roster by default.")
    ] = None,
    share: Annotated[
        Path | None, typer.Option(help="Folder that gets a copy of the authority's certificate.")
    ] = None,
    max_scratch: MaxScratch = None,
    bucket: Bucket = None,
    metrics_port: MetricsPort = 0,
    to_run: ToRun = None,
    as_json: Json = False,
) -> None:
    """Open the public port, wait for hospitals, and run every study that was asked for, until stopped."""
    from federation.config import load_study
    from server.endpoint import Endpoint
    from server.enrolment.steps import place_of
    from server.operations.service import attended, is_ready
    from server.superlink import CoordinatorSettings, serve

    studies = [load_study(path) for path in to_run or ()]

    def ready(endpoint: Endpoint) -> None:
        facts = {
            "host": endpoint.host,
            "port": endpoint.port,
            "ca_path": str(endpoint.ca_path),
        }
        _want_all(state.resolve(), studies)
        text = f"coordinator is ready on {endpoint.host}:{endpoint.port}"
        is_ready(manager, state.resolve(), text)
        emit(facts, text, as_json=as_json)

    place = place_of(state.resolve(), host=listen, port=port, names=name or ())
    settings = CoordinatorSettings(
        state_path=state.resolve(),
        host=place.host,
        port=place.port,
        names=place.names,
        roster_path=roster.resolve() if roster else None,
        share_path=share.resolve() if share else None,
        max_scratch_bytes=int(max_scratch * 1e9) if max_scratch else None,
        bucket=bucket,
    )
    attending = attended(state.resolve(), metrics_port=metrics_port)
    with stop_on_signals() as stop, attending as manager:
        serve(settings, ready=ready, stop=stop)


def _want_all(state: Path, studies: "Sequence[StudyConfig]") -> None:
    """Have studies run that start from fresh weights, or from a model that was given once."""
    from server.start import take_start
    from server.store import StudyStore
    from server.watch import want

    for study in studies:
        store = StudyStore.create(state, study)
        take_start(store, None)
        want(store)


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
    detach: Annotated[bool, typer.Option("--detach", help="Do not watch; return at once.")] = False,
    as_json: Json = False,
) -> None:
    """Have a study run to its end, and watch; it also goes on when nobody watches, or the coordinator is restarted."""
    from federation.config import load_study
    from server.endpoint import read_endpoint
    from server.start import take_start
    from server.store import StudyStore
    from server.watch import want

    plan = load_study(study)
    read_endpoint(state.resolve())
    store = StudyStore.create(state.resolve(), plan)
    take_start(store, start)
    if detach:
        want(store)
        text = (
            f"{plan.name}: the coordinator runs it. See how it stands: {_command('status', state)}"
        )
        emit({"study": plan.name, "wanted": True}, text, as_json=as_json)
    else:
        _watch(state, plan, as_json=as_json)


def _watch(state: Path, plan: "StudyConfig", *, as_json: bool) -> None:
    """Watch a study to its end; say how to end it if a person ends the watching."""
    from server.export import model_path
    from server.progress import headline, show_progress
    from server.status import study_status
    from server.watch import run_to_end

    try:
        with show_progress(_silent if as_json else say) as on_change:
            store = run_to_end(state.resolve(), plan, on_change=on_change)
    except KeyboardInterrupt:
        stop = _command(f"stop {plan.name}", state)
        typer.echo(f"{plan.name} goes on without being watched. To stop it, type: {stop}", err=True)
        raise
    status = study_status(store)
    facts = {"study": status.name, "rounds": status.committed, "model": str(model_path(store))}
    emit(facts, f"{headline(status)}\nmodel: {model_path(store)}", as_json=as_json)


@app.command()
def stop(
    study: Annotated[str, typer.Argument(help="The study: its YAML file, or its name.")],
    state: State,
    as_json: Json = False,
) -> None:
    """Have a study run no longer; finished rounds and hospitals' work are kept, and `run` takes it up again."""
    from server.endpoint import CoordinatorNotRunning
    from server.watch import StillRunning, study_named, withdraw

    if not state.is_dir():
        raise CoordinatorNotRunning(state)
    store = study_named(state.resolve(), study)
    if not withdraw(store):
        raise StillRunning(store.study.name)
    text = f"{store.study.name} is stopped; finished rounds are kept. `fedcxr coordinator run` takes it up again."
    emit({"study": store.study.name, "wanted": False}, text, as_json=as_json)


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
    from server.gathering import gather
    from server.statistics_table import facts, render

    plan = load_study(study)
    pairs = pairs_of(load_label_graph(graph, plan.findings), plan.findings)
    answers = gather(state.resolve(), plan, pairs=pairs, wait_seconds=wait)
    content = {"study": plan.name, **facts(answers, plan.findings)}
    emit(content, render(answers, plan.findings), as_json=as_json)


@app.command()
def status(state: State, as_json: Json = False) -> None:
    """Show the coordinator and its studies; exit code 0 means that hospitals can connect, 1 that they cannot."""
    import time
    from dataclasses import asdict

    from server.endpoint import CoordinatorNotRunning, read_endpoint
    from server.progress import headline, part_line
    from server.status import study_status
    from server.survey import survey

    if not state.is_dir():
        raise CoordinatorNotRunning(state)
    try:
        endpoint = read_endpoint(state.resolve())
        lines = [f"coordinator: up on {endpoint.host}:{endpoint.port}"]
    except CoordinatorNotRunning:
        endpoint, lines = None, [f"coordinator: not running in {state}"]
    studies, damaged = survey(state.resolve(), study_status)
    for each in studies:
        lines += [headline(each), *([f"  {each.reason}"] if each.reason else [])]
        lines += [f"  {part_line(part, time.time())}" for part in each.latest_parts]
    lines += map(str, damaged)
    facts = {
        "up": endpoint is not None,
        "port": endpoint.port if endpoint else None,
        "studies": [asdict(each) for each in studies],
        "damaged": {each.folder.name: str(each) for each in damaged},
    }
    emit(facts, "\n".join(lines), as_json=as_json)
    if endpoint is None:
        raise typer.Exit(ExitCode.NOT_READY)


def _command(verb: str, state: Path) -> str:
    """What to type, as it stands."""
    return f"{program()} coordinator {verb} --state {shown(state)}"


def _silent(_line: str) -> None:
    """Say nothing: the result follows as JSON."""

"""The coordinator's commands for whoever keeps it running."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from federation.service_options import BackupFile, WithKeys, tell_backup
from federation.terminal import emit, say, shown
from server.arguments import Json, State

app = typer.Typer()


class Format(StrEnum):
    """What other tools read."""

    TENSORBOARD = "tensorboard"
    CSV = "csv"
    JSON = "json"


@app.command()
def backup(
    file: BackupFile,
    state: State,
    with_keys: WithKeys = False,
    as_json: Json = False,
) -> None:
    """Write one file from which this coordinator can be had again; studies may be running."""
    from server.operations.backup import backup as write

    contents = write(state.resolve(), file, with_keys=with_keys)
    tell_backup(file, contents, as_json=as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup of a coordinator.")],
    state: State,
    as_json: Json = False,
) -> None:
    """Make a state folder from a backup; every study goes on after its last committed round in it."""
    from server.operations.backup import restore as read

    contents = read(file, state.resolve())
    facts = {"made": contents.made, "files": len(contents.files), "left_out": contents.left_out}
    lines = [f"{shown(state.resolve())}: as it was at {contents.made}"]
    if contents.left_out:
        lines.append(
            f"put these back before `fedcxr coordinator up`, or hospitals will not recognise this coordinator: "
            f"{', '.join(contents.left_out)}"
        )
    emit(facts, "\n".join(lines), as_json=as_json)


@app.command()
def metrics(state: State, as_json: Json = False) -> None:
    """Print the coordinator's numbers as Prometheus reads them; `up --metrics-port` serves them."""
    from federation.metrics import facts_of, text_of
    from server.endpoint import CoordinatorNotRunning
    from server.metrics import CoordinatorMetrics

    if not state.is_dir():
        raise CoordinatorNotRunning(state)
    collector = CoordinatorMetrics(state_path=state.resolve())
    if as_json:
        emit(facts_of(collector), "", as_json=True)
    else:
        say(text_of(collector).rstrip())


@app.command("export-metrics")
def export_metrics(
    study: Annotated[str, typer.Argument(help="The study: its YAML file, or its name.")],
    out: Annotated[Path, typer.Argument(help="Folder to write into.")],
    state: State,
    to: Annotated[Format, typer.Option(help="What shall read it.")] = Format.TENSORBOARD,
    as_json: Json = False,
) -> None:
    """Write a study's rounds for TensorBoard, a spreadsheet (CSV) or a program (JSON)."""
    from server.operations.export import export
    from server.watch import study_named

    store = study_named(state.resolve(), study)
    path = export(store, out, to.value)
    emit(
        {"study": store.study.name, "file": str(path)},
        f"{store.study.name}: {shown(path.resolve())}",
        as_json=as_json,
    )

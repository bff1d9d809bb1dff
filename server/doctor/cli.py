"""`fedcxr coordinator doctor`: look a coordinator over, say what is not well, whose job that is, and what to type."""

from pathlib import Path
from typing import Annotated

import typer

from federation.exit_codes import ExitCode
from federation.terminal import emit
from server.arguments import Json, State

app = typer.Typer()


@app.command()
def doctor(
    state: State,
    roster: Annotated[
        Path | None, typer.Option(help="Folder of hospitals' public keys; STATE/roster by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look the coordinator over within 30 seconds; exit code 1 means that something has to be mended first."""
    import time

    from federation.diagnosis import diagnosis_facts, diagnosis_text, examine, has_failed
    from server.doctor.checks import CHECKS
    from server.doctor.coordinator import coordinator_of

    started = time.monotonic()
    coordinator = coordinator_of(state.resolve(), roster.resolve() if roster else None)
    examined = examine(coordinator, CHECKS)
    seconds = time.monotonic() - started
    emit(
        diagnosis_facts(examined, seconds=seconds),
        diagnosis_text(examined, seconds=seconds),
        as_json=as_json,
    )
    if has_failed(examined):
        raise typer.Exit(ExitCode.NOT_READY)

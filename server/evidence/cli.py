"""The command that shows what was seen of a hospital's log of evidence."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from federation.exit_codes import ExitCode
from federation.terminal import emit
from server.arguments import Json, State

if TYPE_CHECKING:
    from federation.log_witness import LogWitness

app = typer.Typer()


@app.command()
def witness(
    site: Annotated[str, typer.Argument(help="The hospital, as `roster` calls it.")],
    state: State,
    as_json: Json = False,
) -> None:
    """Show the head of a hospital's log as it was last witnessed, to be compared by telephone; exit code 1: it had lost entries."""
    from dataclasses import asdict

    from server.endpoint import CoordinatorNotRunning
    from server.evidence.witnesses import NothingWitnessed, breaks, witnessed

    if not state.is_dir():
        raise CoordinatorNotRunning(state)
    found = witnessed(state.resolve(), site)
    if not found:
        raise NothingWitnessed(site)
    lost = tuple(breaks(found))
    facts = {
        "site": site,
        "witnessed": [asdict(each) for each in found],
        "breaks": list(lost),
    }
    emit(facts, "\n".join([*lost, _text(found[-1])]), as_json=as_json)
    if lost:
        raise typer.Exit(ExitCode.NOT_READY)


def _text(last: "LogWitness") -> str:
    when = datetime.fromtimestamp(last.seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"{last.site_name}: {last.count} entries, witnessed in round {last.round_number} of study {last.study_digest[:12]} "
        f"on {when}\nhead: {last.digest}\n"
        f"Read its first 16 digits out; the hospital types: fedcxr hospital audit verify --head {last.digest[:16]}"
    )

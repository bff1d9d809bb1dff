"""The command that tells before a study what it will cost in privacy."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit

app = typer.Typer(no_args_is_help=True)

USUAL_PATIENTS, USUAL_DELTA = 5000, 1e-6


@app.callback()
def privacy() -> None:
    """What a study costs its patients in privacy."""


@app.command()
def plan(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    patients: Annotated[
        int, typer.Option(min=2, help="Patients with usable radiographs at one hospital, supposed.")
    ] = USUAL_PATIENTS,
    sites: Annotated[
        int | None,
        typer.Option(min=1, help="Hospitals in the mean; default: the study's num_sites."),
    ] = None,
    delta: Annotated[
        float, typer.Option(help="Of (epsilon, delta); well below 1 / patients.")
    ] = USUAL_DELTA,
    epsilon: Annotated[
        list[float] | None, typer.Option(help="An epsilon you want, to see its sigma; repeat.")
    ] = None,
    spent: Annotated[
        float,
        typer.Option(min=0.0, help="Epsilon already spent, as `fedcxr hospital ledger` says."),
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print facts as JSON instead of text.")
    ] = False,
) -> None:
    """Print epsilon at each hospital, the noise of a step, and what both mean, before any radiograph is touched."""
    from federation.config import load_study
    from federation.planning.plan import Circumstances, make_plan
    from federation.planning.table import facts, render

    loaded = load_study(study)
    try:
        supposed = Circumstances(
            num_patients=patients,
            num_sites=sites or loaded.rounds.num_sites,
            delta=delta,
            spent=spent,
        )
        made = make_plan(loaded, supposed, epsilon or ())
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    emit(facts(made), render(made), as_json=as_json)

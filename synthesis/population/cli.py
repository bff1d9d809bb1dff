"""The commands of the label model."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]
From = Annotated[Path, typer.Option("--population", "-p", help="What `fit` wrote.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="CSV for `fedcxr generate --prompts`.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same answer.")]
Omit = Annotated[
    list[str] | None, typer.Option(help="Attribute to leave open in what is written; repeat.")
]
USUAL = Path("population.json")


@app.command()
def fit(
    counts: Annotated[
        Path | None,
        typer.Argument(help="What `fedcxr coordinator statistics STUDY --json` printed."),
    ] = None,
    real: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of counts: a hospital's profile, or NAME=CACHE; repeat. Exact, and protects nobody."
        ),
    ] = None,
    graph: Annotated[
        Path | None, typer.Option(help="What depends on what, as YAML; default: the program's own.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="JSON that gets the population.")
    ] = USUAL,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Learn from hospitals' counts which labels go together."""
    from dataclasses import asdict

    from synthesis.population.fitting import fit_population
    from synthesis.population.population import save_population
    from synthesis.population.sources import gather
    from synthesis.population.table import summary

    gathered = gather(counts, real or [], graph)
    population = fit_population(gathered, seed=seed)
    save_population(out, population)
    hospitals = {name: asdict(source) for name, source in population.hospitals.items()}
    facts = {"out": str(out), "hospitals": hospitals, "arrows": len(population.kept)}
    emit(facts, summary(population, out), as_json=as_json)


@app.command()
def show(population: From = USUAL, seed: Seed = 0, as_json: Json = False) -> None:
    """Print who comes to which hospital, and how much each arrow does."""
    from synthesis.population.population import load_population
    from synthesis.population.table import facts, render

    found = load_population(population)
    if as_json:
        emit(facts(found, seed), "", as_json=True)
    else:
        emit({}, render(found, seed), as_json=False)


@app.command()
def sample(
    n: Annotated[int, typer.Option("--n", min=1, help="Number of prompts.")],
    population: From = USUAL,
    out: Out = Path("prompts.csv"),
    like: Annotated[str | None, typer.Option(help="Hospital whose patients it shall be.")] = None,
    equal: Annotated[
        list[str] | None, typer.Option(help="Attribute with equal shares of all values; repeat.")
    ] = None,
    age: Annotated[str | None, typer.Option(help="Years, such as 60-80.")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE that all have in common; repeat.")
    ] = None,
    omit: Omit = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw prompts that go together as the hospitals' labels do."""
    import numpy as np

    from synthesis.population import ask
    from synthesis.population.population import load_population
    from synthesis.population.prompt_table import write_table
    from synthesis.population.wishes import age_band, wishes

    found = load_population(population)
    wanted = wishes(given or [], found) | ({"site": like} if like else {})
    lines = ask.sample(
        found,
        n,
        wanted,
        band=age_band(age) if age else None,
        equal=equal or [],
        rng=np.random.default_rng(seed),
    )
    write_table(out, found, lines, omit or [])
    emit({"out": str(out), "n": n, "seed": seed}, f"{n} prompts: {out}", as_json=as_json)


@app.command()
def complete(
    prompts: Annotated[Path, typer.Argument(help="CSV with open cells.")],
    population: From = USUAL,
    out: Out = Path("full.csv"),
    omit: Omit = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fill what prompts leave open with what goes together with the rest."""
    import numpy as np

    from synthesis.population import ask
    from synthesis.population.population import load_population
    from synthesis.population.prompt_table import read_table, write_table

    found = load_population(population)
    table = read_table(prompts, found)
    filled = ask.complete(found, table.conditions, np.random.default_rng(seed))
    lines = [line | dict(rest) for line, rest in zip(filled, table.rest, strict=True)]
    write_table(out, found, lines, omit or [])
    emit({"out": str(out), "n": len(lines)}, f"{len(lines)} prompts: {out}", as_json=as_json)


@app.command()
def intervene(
    prompts: Annotated[Path, typer.Argument(help="CSV; what is open is filled first.")],
    changes: Annotated[
        list[str], typer.Option("--set", help="NAME=VALUE that shall be otherwise; repeat.")
    ],
    population: From = USUAL,
    out: Out = Path("changed.csv"),
    omit: Omit = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Change something in every prompt, and what follows from it; the rest of each stays as it is."""
    import numpy as np

    from synthesis.population import ask
    from synthesis.population.population import load_population
    from synthesis.population.prompt_table import read_table, write_table
    from synthesis.population.wishes import wishes

    found = load_population(population)
    table = read_table(prompts, found)
    rng = np.random.default_rng(seed)
    changed = ask.intervene(found, table.conditions, wishes(changes, found), rng)
    lines = [line | dict(rest) for line, rest in zip(changed, table.rest, strict=True)]
    write_table(out, found, lines, omit or [])
    emit({"out": str(out), "n": len(lines)}, f"{len(lines)} prompts: {out}", as_json=as_json)

"""The researcher's commands: a whole federation on one machine, and the phantoms it learns from."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit, program, say, shown

app = typer.Typer()
SETS = "nih, chexpert, mimic, padchest, vindr, brax or rexgradient."
WAYS = "view, sex, age, race, manufacturer, finding, random or dirichlet"
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]


@app.command()
def simulate(
    config: Annotated[Path, typer.Argument(help="The simulation, as YAML.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Results; out/NAME by default.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="processes (as in production) or ray (for many sites).")
    ] = "processes",
    as_json: Json = False,
) -> None:
    """Train one model across simulated hospitals, and show what that was worth."""
    from simulation.config import load_simulation

    plan = load_simulation(config)  # before what takes seconds to import
    from simulation.run import run_simulation

    folder = (out or Path("out") / config.stem).resolve()
    summary = run_simulation(
        plan,
        folder,
        engine=engine,
        say=_say_nothing if as_json else say,
        command=_command(config, out, engine),
    )
    emit(summary.facts(), summary.text(), as_json=as_json)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder that gets one folder per hospital.")],
    sites: Annotated[int, typer.Option(min=1, max=26, help="Number of hospitals.")] = 3,
    records: Annotated[int, typer.Option(min=1, help="Radiographs per hospital.")] = 300,
    image_size: Annotated[int, typer.Option(min=32, help="Side of a radiograph, in pixels.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same files.")] = 1,
    as_json: Json = False,
) -> None:
    """Write synthetic hospitals: folders of valid DICOM radiographs with labels."""
    from model.conditioning import FINDINGS
    from simulation.hospitals import example_sites
    from simulation.phantom_sites import write_phantom_site

    written = {
        site.name: write_phantom_site(out / site.name, site, FINDINGS, image_size).num_files
        for site in example_sites(sites, num_records=records, seed=seed)
    }
    text = "\n".join(f"{name}: {count} files" for name, count in written.items())
    emit({"hospitals": written}, text, as_json=as_json)


@app.command("import")
def import_public(
    name: Annotated[str, typer.Argument(metavar="SET", help=SETS)],
    source: Annotated[Path, typer.Argument(help="The set's folder, downloaded and unpacked.")],
    out: Annotated[Path, typer.Argument(help="Folder that gets one folder per hospital.")],
    by: Annotated[str, typer.Option(help=f"What hospitals differ in: {WAYS}.")] = "random",
    sites: Annotated[
        int | None, typer.Option(help="Hospitals; as --by suggests by default.")
    ] = None,
    finding: Annotated[
        str | None, typer.Option(help="For --by finding: with it here, without it there.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="For --by dirichlet: the smaller, the more hospitals differ.")
    ] = 0.5,
    held_out: Annotated[
        float, typer.Option(help="Share of every hospital's patients that is set aside to judge.")
    ] = 0.1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first radiographs of the tables.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed deals the same patients.")] = 0,
    as_json: Json = False,
) -> None:
    """Deal a public set of radiographs to hospitals: DICOM, labels, and a simulation to start."""
    from simulation.public_sets.bar import show_bar
    from simulation.public_sets.catalogue import public_set
    from simulation.public_sets.importing import ImportPlan, import_set
    from simulation.public_sets.partition import Partition
    from simulation.public_sets.study_file import SIMULATION

    partition = Partition(
        by=by, num_sites=sites, finding=finding, alpha=alpha, held_out=held_out, seed=seed
    )
    plan = ImportPlan(public_set=public_set(name), source=source, partition=partition, limit=limit)
    with show_bar(name, silent=as_json) as on_progress:
        summary = import_set(plan, out, on_progress=on_progress)
    command = f"{program()} simulate {shown((out / SIMULATION).resolve())}"
    text = f"{summary.text()}\n{plan.public_set.terms}\nThen type: {command}"
    emit({**summary.facts(), "simulation": str(out / SIMULATION)}, text, as_json=as_json)


def _command(config: Path, out: Path | None, engine: str) -> str:
    """What to type to do the same again."""
    options = f" --out {out}" if out else ""
    options += f" --engine {engine}" if engine != "processes" else ""
    return f"{program()} simulate {config}{options}"


def _say_nothing(_line: str) -> None:
    """The result follows as JSON."""

"""The `fedcxr` command: put together here from each package's own commands."""

import sys
from pathlib import Path
from typing import Annotated

import click
import typer

import client.cli
import server.cli
import simulation.cli
from federation.terminal import INTERRUPTED, USAGE_ERROR, emit, explain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Hospitals train one generative model of chest radiographs together; no radiograph leaves any of them.",
)
app.add_typer(server.cli.app, name="coordinator")
app.add_typer(client.cli.app, name="hospital")
app.add_typer(simulation.cli.app)
models = typer.Typer(no_args_is_help=True, help="Look at models.")
app.add_typer(models, name="model")

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    out: Annotated[Path, typer.Option(help="PNG that gets the radiographs, side by side.")] = Path(
        "samples.png"
    ),
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter to the model.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of radiographs.")] = 8,
    age: Annotated[float | None, typer.Option(min=0, max=120, help="Years.")] = None,
    sex: Annotated[str | None, typer.Option(help="F or M.")] = None,
    view: Annotated[str | None, typer.Option(help="PA, AP, LATERAL or OTHER.")] = None,
    finding: Annotated[
        list[str] | None,
        typer.Option(help="NAME=STATE, such as cardiomegaly=present; repeat for more."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 20,
    guidance: Annotated[
        float, typer.Option(min=0, help="1 follows the condition, more exaggerates it.")
    ] = 1.5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same radiographs.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw radiographs that fit a condition; whatever is not given is left open."""
    from model.generate import Wish, draw

    wish = Wish(age=age, sex=sex, view=view, findings=tuple(finding or ()))
    draw(
        model,
        out,
        wish,
        adapter=adapter,
        num_images=n,
        num_steps=steps,
        guidance=guidance,
        seed=seed,
    )
    emit({"out": str(out), "n": n, "seed": seed}, f"{n} radiographs: {out}", as_json=as_json)


@models.command()
def table(
    image_size: Annotated[
        list[int] | None,
        typer.Option(min=32, help="Pixels; repeat for more. 256, 512 and 1024 by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Parameters, arithmetic and bytes of every size, computed from the architecture."""
    from dataclasses import asdict

    from model.table import render_table, size_table

    try:
        rows = size_table(image_size or [256, 512, 1024])
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    emit({"sizes": [asdict(row) for row in rows]}, render_table(rows), as_json=as_json)


def main() -> None:
    """Run the command line; an error is one sentence, and the exit code says whose it is."""
    try:
        code = app(standalone_mode=False)
    except click.ClickException as err:
        err.show()
        sys.exit(USAGE_ERROR)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except Exception as err:
        sentence = explain(err)
        if sentence is None:
            raise
        typer.echo(f"error: {sentence}", err=True)
        sys.exit(getattr(type(err), "exit_code", USAGE_ERROR))
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()

"""The `fedcxr` command: put together here from each package's own commands."""

import sys
from pathlib import Path
from typing import Annotated

import click
import typer

import client.cli
import federation.planning.cli
import server.cli
import simulation.cli
import synthesis.distillation.cli
import synthesis.editing.cli
import synthesis.evaluation.cli
import synthesis.generation.cli
import synthesis.population.cli
import synthesis.reader_study.cli
import synthesis.stress.cli
from federation.terminal import INTERRUPTED, USAGE_ERROR, emit, explain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Hospitals train one generative model of chest radiographs together; no radiograph leaves any of them.",
)
app.add_typer(server.cli.app, name="coordinator")
app.add_typer(client.cli.app, name="hospital")
app.add_typer(federation.planning.cli.app, name="privacy")
app.add_typer(simulation.cli.app)
app.add_typer(synthesis.generation.cli.app)
app.add_typer(synthesis.editing.cli.app)
app.add_typer(synthesis.distillation.cli.app)
app.add_typer(synthesis.evaluation.cli.app)
app.add_typer(synthesis.stress.cli.app)
app.add_typer(
    synthesis.reader_study.cli.app, name="reader-study", help="Can people tell what is real?"
)
app.add_typer(synthesis.population.cli.app, name="population", help="Which conditions go together.")
models = typer.Typer(no_args_is_help=True, help="Look at models.")
app.add_typer(models, name="model")

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]


@models.command()
def table(
    image_size: Annotated[
        list[int] | None,
        typer.Option(min=32, help="Pixels; repeat for more. 256, 512 and 1024 by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Parameters, arithmetic, memory and bytes of every size, computed from the architecture.

    GB+ is held whatever the batch; recomputed: every block computed twice; r16 GB+: frozen weights in bf16 and
    the adapter's state.
    """
    from dataclasses import asdict

    from model.table import render_table, size_table

    try:
        rows = size_table(image_size or [256, 512, 1024])
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    emit({"sizes": [asdict(row) for row in rows]}, render_table(rows), as_json=as_json)


@models.command()
def codec(
    folder: Annotated[Path, typer.Argument(help="Folder of an autoencoder.")],
    real: Annotated[
        Path | None,
        typer.Option(
            help="A hospital's profile or cache, to see what the autoencoder loses of it."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Name an autoencoder as a study has to, and measure what it loses of a hospital's radiographs."""
    from synthesis.codec.facts import codec_facts, facts_text

    facts = codec_facts(folder, real)
    emit(facts, facts_text(facts), as_json=as_json)


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

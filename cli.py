"""The `fedcxr` command: put together here from each package's own commands."""

import sys
from pathlib import Path
from typing import Annotated

import click
import typer

import client.cli
import client.doctor.cli
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
from client.arguments import SITE_VARIABLE, usual_site
from federation.exit_codes import ExitCode, exit_code_lines
from federation.terminal import emit, explain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Hospitals train one generative model of chest radiographs together; no radiograph leaves any of them.",
    epilog="\n\n".join(["Exit codes:", *exit_code_lines()]),
)
app.add_typer(server.cli.app, name="coordinator")
app.add_typer(client.cli.app, name="hospital")
app.add_typer(client.doctor.cli.app)
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
settings = typer.Typer(no_args_is_help=True, help="Look at settings.")
app.add_typer(settings, name="config")
models = typer.Typer(no_args_is_help=True, help="Look at models.")
app.add_typer(models, name="model")

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]


def _tell_version(wanted: bool) -> None:  # noqa: FBT001  typer's signature
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fedcxr {version('fedcxr')}")
        raise typer.Exit


@app.callback()
def over_files(
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="For this command alone, put a value over the one in the profile or study; repeat for more.",
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the release."),
    ] = False,
) -> None:
    """Hospitals train one generative model of chest radiographs together; no radiograph leaves any of them."""
    if setting:
        from client.config import SiteConfig
        from federation.config import StudyConfig
        from federation.layers import keep_typed

        keep_typed(setting, (SiteConfig, StudyConfig))


@settings.command()
def show(
    file: Annotated[
        Path,
        typer.Argument(
            help="A hospital's profile or a study, as YAML; else the profile in its usual place.",
            envvar=SITE_VARIABLE,
            default_factory=usual_site,
            show_default=False,
        ),
    ],
    origin: Annotated[
        bool, typer.Option("--origin", help="Also say where each value comes from.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show every setting that counts: what was typed (--set) before FEDCXR_<KEY> before the file before defaults."""
    from dataclasses import asdict

    from client.config import SiteConfig
    from federation.config import StudyConfig
    from federation.layers import schema_of, settings_of, settings_text

    found = settings_of(file, schema_of(file, (SiteConfig, StudyConfig)))
    facts = {"file": str(file), "settings": [asdict(each) for each in found]}
    emit(facts, settings_text(found, with_origin=origin), as_json=as_json)


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


@models.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a model or an adapter.")],
    authority: Annotated[
        Path | None,
        typer.Option(help="The study authority's public key, as it came with the study."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check who signed a model, where it comes from, and that every file and every weight is what was signed."""
    from federation.lineage import verify_model
    from federation.lineage_text import lineage_facts, lineage_text, read_authority

    key = None if authority is None else read_authority(authority)
    signed = verify_model(folder, key)
    emit(lineage_facts(signed), lineage_text(signed, compared=key is not None), as_json=as_json)


def main() -> None:
    """Run the command line; an error is one sentence, and the exit code says whose it is."""
    try:
        code = app(standalone_mode=False)
    except click.ClickException as err:
        err.show()
        sys.exit(ExitCode.MISTAKE)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as err:
        sentence = explain(err)
        if sentence is None:
            raise
        typer.echo(f"error: {sentence}", err=True)
        sys.exit(getattr(type(err), "exit_code", ExitCode.MISTAKE))
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()

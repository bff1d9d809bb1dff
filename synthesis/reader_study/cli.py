"""The commands of the reader study."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit, program

app = typer.Typer(no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]


@app.command()
def make(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    real: Annotated[
        Path,
        typer.Option(help="The hospital's profile (YAML) or the folder of its cache."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder that gets the pages and the key.")
    ] = Path("study"),
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter to the model.")] = None,
    codec: Annotated[
        Path | None, typer.Option(help="Folder of the autoencoder of a model of latents.")
    ] = None,
    n: Annotated[
        int, typer.Option("--n", min=2, help="Radiographs in all; half of them are real.")
    ] = 50,
    readers: Annotated[int, typer.Option(min=1, help="Readers; each gets a page.")] = 1,
    presentations: Annotated[
        int, typer.Option(min=1, help="2 shows every radiograph twice: does a reader agree twice?")
    ] = 1,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Sampling steps. By default 20, or those of a distilled model."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="1 follows the condition, more exaggerates it. 1.5 by default, 1 if distilled.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Makes the same study again; drawn at random by default, so that no reader can know it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Mix held-out and synthetic radiographs into a page that asks which is which.

    The synthetic ones are drawn for the conditions of the real ones. The pages hold patients' radiographs and stay
    in the hospital; the key stays with whoever runs the study.
    """
    import secrets

    from synthesis.generation.request import Walk, open_model
    from synthesis.reader_study.booklet import KEY_NAME
    from synthesis.reader_study.make import StudyPlan, make_study
    from synthesis.real import open_hospital

    generator = open_model(model, adapter, codec)
    walk = Walk(steps=steps, method=None, guidance=guidance, interval=None)
    plan = StudyPlan(
        num_pictures=n,
        num_readers=readers,
        num_presentations=presentations,
        seed=secrets.randbits(48) if seed is None else seed,
        sampling=walk.sampling(generator.manifest),
    )
    pages = make_study(generator, open_hospital(real, generator), plan, out)
    emit(
        {"pages": [str(page) for page in pages], "key": str(out / KEY_NAME), "n": n},
        f"{n} radiographs, half of them real: give each reader one page of {pages[0].parent}\n"
        f"The pages hold patients' radiographs and must stay in the hospital. {out / KEY_NAME} tells what is real: "
        f"keep it from readers.\nThen type: {program()} reader-study score {out} answers-*.json",
        as_json=as_json,
    )


@app.command()
def score(
    study: Annotated[Path, typer.Argument(help="Folder of the study.")],
    answers: Annotated[list[Path], typer.Argument(help="Files that the readers downloaded.")],
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Score also what readers did not finish.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare readers' answers with the key, with chance and with each other."""
    from synthesis.reader_study.answers import read_all
    from synthesis.reader_study.booklet import read_key
    from synthesis.reader_study.result_page import to_json, to_text, write_result
    from synthesis.reader_study.scoring import score as count

    key = read_key(study)
    result = count(key, read_all(answers, key, complete=not incomplete))
    page = write_result(result, key, study)
    emit(
        {**to_json(result), "page": str(page)},
        f"{to_text(result)}\n\nPage: {page}",
        as_json=as_json,
    )

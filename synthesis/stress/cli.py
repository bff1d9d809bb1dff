"""The command that tests a classifier."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from federation.terminal import emit

app = typer.Typer()
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]


@app.command()
def stress(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    classifier: Annotated[
        str,
        typer.Argument(
            help="TorchScript file (.pt), ONNX file (.onnx), or python:PATH.py:FUNCTION, which is run as it is "
            "and takes an array (batch, channel, height, width)."
        ),
    ],
    finding: Annotated[str, typer.Option(help="The finding under test, such as cardiomegaly.")],
    outputs: Annotated[
        str | None,
        typer.Option(help="All outputs of the classifier in order: cardiomegaly,edema,..."),
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels it wants; the model's by default.")
    ] = None,
    pixel_range: Annotated[
        str, typer.Option("--range", help="Values of black and white: 0..1, -1..1, 0..255, ...")
    ] = "0..1",
    channels: Annotated[Literal["1", "3"], typer.Option(help="3 are equal ones.")] = "1",
    logits: Annotated[bool, typer.Option("--logits", help="Its scores are logits.")] = False,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Probability from which on it sees the finding.")
    ] = 0.5,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Attribute to group by, with or without its groups: sex, age=18-50,51-90, manufacturer=ge,philips; "
            "repeat for more. sex, age and view by default."
        ),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            help="Other finding to add that should not matter; repeat for more. support_devices by default."
        ),
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(
            help="The hospital's profile (YAML) or the folder of its cache: tests on its held-out radiographs too; "
            "the page then shows some and stays in the hospital."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder that gets the report as a page and as JSON.")
    ] = Path("stress"),
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter to the model.")] = None,
    codec: Annotated[
        Path | None, typer.Option(help="Folder of the autoencoder of a model of latents.")
    ] = None,
    n: Annotated[
        int,
        typer.Option("--n", min=1, help="Radiographs with, and as many without it, in every cell."),
    ] = 25,
    edits: Annotated[int, typer.Option(min=1, help="Radiographs that are edited.")] = 100,
    min_cell: Annotated[
        int, typer.Option(min=2, help="Radiographs with and without it that a figure needs.")
    ] = 20,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Sampling steps. By default 20, or those of a distilled model."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Of the sampling: more shows the finding more plainly. 3 by default, 1 if distilled.",
        ),
    ] = None,
    edit_steps: Annotated[int, typer.Option(min=1, help="Steps of an edit.")] = 30,
    edit_guidance: Annotated[
        float, typer.Option(min=0, help="Of the edits: more makes the change plainer.")
    ] = 3.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same report.")] = 0,
    as_json: Json = False,
) -> None:
    """Run a classifier over generated groups of radiographs, and over radiographs with one thing changed."""
    from synthesis.stress.concerns import concerns
    from synthesis.stress.progress import stage_bar
    from synthesis.stress.report import to_json, write_report
    from synthesis.stress.request import ClassifierRequest, StressRequest

    request = StressRequest(
        model=model,
        adapter=adapter,
        codec=codec,
        classifier=ClassifierRequest(
            given=classifier,
            finding=finding,
            outputs=outputs,
            input_size=input_size,
            pixel_range=pixel_range,
            num_channels=int(channels),
            is_logit=logits,
            threshold=threshold,
        ),
        by=tuple(by or ()),
        others=tuple(other or ()),
        real=real,
        per_cell=n,
        num_edited=edits,
        min_cell=min_cell,
        num_steps=steps,
        guidance=guidance,
        num_edit_steps=edit_steps,
        edit_guidance=edit_guidance,
        seed=seed,
    )
    with stage_bar() as on_progress:
        result, made_with = request.carry_out(on_progress)
    page = write_report(result, made_with, out)
    found = [
        concern.sentence
        + (" The reference does so too: the model may be to blame." if concern.shared else "")
        for concern in concerns(result)
    ]
    emit(
        {**to_json(result, made_with), "page": str(page)},
        "\n".join([*(found or ["Nothing stands out."]), f"Report: {page}"]),
        as_json=as_json,
    )

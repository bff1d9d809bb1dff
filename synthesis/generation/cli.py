"""The command that draws radiographs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from federation.terminal import emit

app = typer.Typer()
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]
Model = Annotated[Path, typer.Argument(help="Folder of a model.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Gets the radiographs: a PNG with all side by side, or one radiograph as DICOM if it ends in "
        ".dcm. samples.png by default.",
    ),
]
Dataset = Annotated[
    Path | None,
    typer.Option(
        help="Folder for a data set instead: pictures, labels, prompts. Stopped, the same command goes on."
    ),
]
Format = Annotated[
    Literal["png", "dicom"], typer.Option(help="Pictures of a data set; PNG has 16 bits.")
]
Kind = Annotated[
    Literal["sc", "dx"],
    typer.Option(help="DICOM as Secondary Capture, or as DX for presentation, which needs a view."),
]
Adapter = Annotated[Path | None, typer.Option(help="Folder of an adapter to the model.")]
Codec = Annotated[
    Path | None, typer.Option(help="Folder of the autoencoder that the model was trained with.")
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        help="CSV or JSON with a prompt per row: attributes as columns, empty for open, also n and seed."
    ),
]
Count = Annotated[
    int | None,
    typer.Option("--n", min=1, help="Radiographs; with --prompts, of each that does not say."),
]
Age = Annotated[float | None, typer.Option(min=0, max=120, help="Years.")]
Sex = Annotated[str | None, typer.Option(help="F or M.")]
View = Annotated[str | None, typer.Option(help="PA, AP, LATERAL or OTHER.")]
Race = Annotated[str | None, typer.Option(help="asian, black, white or other.")]
Manufacturer = Annotated[
    str | None, typer.Option(help="Maker of the machine, such as siemens, or its number.")
]
Site = Annotated[
    str | None, typer.Option(help="A hospital of the study to draw like, by name or number.")
]
Finding = Annotated[
    list[str] | None,
    typer.Option(help="NAME=STATE, such as cardiomegaly=present; repeat for more."),
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Sampling steps. By default 20, or those of a distilled model."),
]
MethodName = Annotated[
    Literal["euler", "heun"] | None,
    typer.Option(help="heun asks the network twice a step. euler by default if distilled."),
]
Scale = Annotated[
    float | None,
    typer.Option(min=0, help="1 follows the condition, more exaggerates it. 1.5 by default."),
]
Interval = Annotated[
    tuple[float, float] | None,
    typer.Option(help="Noise levels between which guidance acts, 0.1 0.9 by default."),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed draws the same radiographs.")]


@app.command()
def generate(
    model: Model,
    out: Out = None,
    dataset: Dataset = None,
    format: Format = "png",  # noqa: A002  the option's name
    kind: Kind = "sc",
    adapter: Adapter = None,
    codec: Codec = None,
    prompts: Prompts = None,
    n: Count = None,
    age: Age = None,
    sex: Sex = None,
    view: View = None,
    race: Race = None,
    manufacturer: Manufacturer = None,
    site: Site = None,
    finding: Finding = None,
    steps: Steps = None,
    method: MethodName = None,
    guidance: Scale = None,
    guidance_interval: Interval = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw radiographs that fit a condition; whatever is not given is left open."""
    from synthesis.generation.output import draw_and_tell, place_of
    from synthesis.generation.request import Walk, attributes, open_model, order_of

    place = place_of(out, dataset)
    options = {
        "age": age, "sex": sex, "view": view, "race": race, "manufacturer": manufacturer, "site": site
    }  # fmt: skip
    order = order_of(
        open_model(model, adapter, codec), attributes(options, finding), prompts,
        count=n or (1 if prompts else place.usual_count), seed=seed,
        walk=Walk(steps=steps, method=method, guidance=guidance, interval=guidance_interval),
        form=kind if format == "dicom" or place.is_dicom_file else "png",
    )  # fmt: skip
    facts, text = draw_and_tell(place, order)
    emit({**facts, "seed": seed}, text, as_json=as_json)

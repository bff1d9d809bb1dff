"""The command that edits."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from federation.terminal import emit

app = typer.Typer()
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]
File = Annotated[Path, typer.Argument(help="Radiograph: DICOM, or a grey PNG.", show_default=False)]
Model = Annotated[Path, typer.Option(help="Folder of a model.", show_default=False)]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="NAME=VALUE that the radiograph shall have, such as cardiomegaly=present, age=80 or view=AP; repeat "
        "for more.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Gets the edited radiograph, of the model's size: DICOM if it ends in .dcm, 16-bit PNG if in .png. "
        "Before, after and difference go into NAME.difference.png beside it.",
    ),
]
Known = Annotated[
    list[str] | None,
    typer.Option(
        "--is", help="NAME=VALUE that the radiograph has and its header does not tell; repeat."
    ),
]
Free = Annotated[
    list[str] | None,
    typer.Option(help="Attribute that need not stay as it is, such as edema; repeat."),
]
Population = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Label model of `fedcxr population fit`: what follows from what is set changes with it.",
    ),
]
MaskFile = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        exists=True,
        dir_okay=False,
        help="Grey PNG of the edited picture's size: white may change, black keeps every bit.",
    ),
]
Box = Annotated[
    str | None,
    typer.Option(
        help="LEFT,TOP,RIGHT,BOTTOM that may change instead of a mask, in shares of the picture: 0,0,1,1 is all."
    ),
]
Method = Annotated[
    Literal["flow-edit", "flow-edit-cfg", "inversion", "rf-inversion", "sdedit"],
    typer.Option(
        help="flow-edit changes least of what is not asked for; the others are there to compare."
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(min=0, help="How hard to push; more changes more. By default the method's own."),
]
Steps = Annotated[int | None, typer.Option(min=1, help="By default the method's own.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed makes the same edit.")]
Adapter = Annotated[Path | None, typer.Option(help="Folder of an adapter to the model.")]
Codec = Annotated[
    Path | None, typer.Option(help="Folder of the autoencoder that the model was trained with.")
]


@app.command()
def edit(
    file: File,
    model: Model,
    sets: Set,
    out: Out = Path("edited.dcm"),
    known: Known = None,
    free: Free = None,
    population: Population = None,
    mask: MaskFile = None,
    box: Box = None,
    method: Method = "flow-edit",
    guidance: Guidance = None,
    steps: Steps = None,
    seed: Seed = 0,
    adapter: Adapter = None,
    codec: Codec = None,
    as_json: Json = False,
) -> None:
    """Change what a radiograph shows and keep the rest.

    What its header tells (age, sex, view, manufacturer) and what --is says is kept, unless --set changes it.

    The result is marked as synthetic, has new identifiers, and no element of the radiograph's header is copied: it is
    no examination of the patient. Its pixels are still the patient's chest, so it has to stay in the hospital.
    """
    from synthesis.editing.order import carry_out, check_place, deliver
    from synthesis.editing.request import Request, order_of
    from synthesis.editing.spoken import spoken
    from synthesis.generation.request import open_model

    check_place(out)
    request = Request(
        file=file,
        asked=sets,
        known=known or [],
        free=free or [],
        population=population,
        mask=mask,
        box=box,
        method=method,
        guidance=guidance,
        steps=steps,
        seed=seed,
    )
    order = order_of(request, open_model(model, adapter, codec))
    facts = deliver(out, order, carry_out(order))
    emit(facts, spoken(facts, order.wanted), as_json=as_json)

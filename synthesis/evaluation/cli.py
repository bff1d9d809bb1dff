"""The command that evaluates."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from federation.terminal import emit

app = typer.Typer()
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]
Model = Annotated[Path, typer.Argument(help="Folder of a model.")]
Real = Annotated[
    list[Path],
    typer.Option(
        help="A hospital's cache of radiographs, or its profile (YAML); repeat for more hospitals."
    ),
]
Unseen = Annotated[
    list[Path] | None,
    typer.Option(
        "--held-out",
        help="A cache or profile of a hospital that took no part in the training: all its radiographs count as "
        "held out. Repeat for more.",
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="New folder, gets report.html and report.json.")
]
Adapter = Annotated[Path | None, typer.Option(help="Folder of an adapter to the model.")]
Codec = Annotated[
    Path | None, typer.Option(help="Folder of the autoencoder that the model was trained with.")
]
Encoder = Annotated[
    list[str] | None,
    typer.Option(
        help="What sees radiographs for the distances: builtin, which is trained on the spot, or weights of "
        "your own: rad-dino:FOLDER, xrv:FILE or torchscript:FILE. Repeat for more."
    ),
]
Count = Annotated[
    int, typer.Option("--n", min=20, help="Samples, and held-out radiographs to compare them with.")
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Sampling steps. By default 20, or those of a distilled model."),
]
MethodName = Annotated[
    Literal["euler", "heun"] | None, typer.Option(help="heun asks the network twice a step.")
]
Scale = Annotated[
    float | None,
    typer.Option(min=0, help="1 follows the condition, more exaggerates it. 1.5 by default."),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")]
MinCell = Annotated[int, typer.Option(min=2, help="Radiographs that a subgroup needs to be shown.")]
ProtocolName = Annotated[
    Literal["own", "chexgenbench"],
    typer.Option(help="chexgenbench takes the steps of that published comparison."),
]
Curve = Annotated[
    bool, typer.Option("--steps-curve", help="Also measure quality over sampling steps.")
]
Student = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a model that `fedcxr distill` made of it; is measured on the same curve of steps."
    ),
]
RealPictures = Annotated[
    bool, typer.Option(help="Show real radiographs; the page must then stay in the hospital.")
]


@app.command()
def evaluate(
    model: Model,
    real: Real,
    unseen: Unseen = None,
    out: Out = Path("evaluation"),
    adapter: Adapter = None,
    codec: Codec = None,
    encoder: Encoder = None,
    n: Count = 300,
    steps: Steps = None,
    method: MethodName = None,
    guidance: Scale = None,
    seed: Seed = 0,
    min_cell: MinCell = 20,
    protocol: ProtocolName = "own",
    steps_curve: Curve = False,
    student: Student = None,
    real_pictures: RealPictures = True,
    as_json: Json = False,
) -> None:
    """Measure how good a model's radiographs are, beside real ones that it has not seen."""
    from model.evaluation.encoders.choice import BUILTIN
    from synthesis.evaluation.job import Job, run
    from synthesis.evaluation.plan import Plan
    from synthesis.evaluation.progress import evaluation_bar
    from synthesis.generation.request import Walk, open_model

    generator = open_model(model, adapter, codec)
    walk = Walk(steps=steps, method=method, guidance=guidance, interval=None)
    plan = Plan(
        num_samples=n,
        seed=seed,
        sampling=walk.sampling(generator.manifest),
        min_cell=min_cell,
        encoders=tuple(encoder or (BUILTIN,)),
        protocol=protocol,
        with_steps_curve=steps_curve or student is not None,
        with_real_pictures=real_pictures,
    )
    with evaluation_bar() as on_progress:
        done = run(
            Job(
                generator=generator,
                student=open_model(student, None, codec) if student else None,
                real=tuple(real),
                unseen=tuple(unseen or ()),
                plan=plan,
                out=out,
            ),
            on_progress,
        )
    emit(done.facts(), done.text(), as_json=as_json)

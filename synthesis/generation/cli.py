"""The command that draws radiographs."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit

app = typer.Typer()
COLUMNS = 8
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
    import numpy as np
    import torch

    from model.generate import draw, open_generator
    from model.guidance import Guidance
    from model.pictures import sample_grid, save_png
    from model.sampler import Sampling
    from synthesis.generation.wish import Wish

    out.parent.mkdir(parents=True, exist_ok=True)
    generator = open_generator(model, adapter)
    wish = Wish(age=age, sex=sex, view=view, findings=tuple(finding or ()))
    row = generator.schema.row(wish.metadata(generator.schema))
    sampling = Sampling(num_steps=steps, guidance=Guidance(scale=guidance), method="heun")
    condition = torch.from_numpy(np.tile(row, (n, 1)))
    images = draw(generator, condition, seed=seed, sampling=sampling)
    save_png(out, sample_grid(images, min(COLUMNS, n)))
    emit({"out": str(out), "n": n, "seed": seed}, f"{n} radiographs: {out}", as_json=as_json)

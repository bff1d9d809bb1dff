"""The command that makes a model draw in few steps."""

from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit, say

app = typer.Typer()
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]


@app.command()
def distill(
    model: Annotated[Path, typer.Argument(help="Folder of the model to learn from.")],
    out: Annotated[Path, typer.Argument(help="Folder that gets the model of few steps.")],
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter to the model.")] = None,
    steps: Annotated[int, typer.Option(min=1, max=16, help="Sampling steps to learn.")] = 4,
    pairs: Annotated[
        int, typer.Option(min=1, help="Pictures that the model draws to learn from.")
    ] = 4096,
    training_steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 2000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures of a step.")] = 32,
    learning_rate: Annotated[
        float, typer.Option(help="At its highest; less for larger sizes.")
    ] = 5e-4,
    guidance: Annotated[
        float, typer.Option(min=0, help="Becomes part of the model; it is drawn with 1 then.")
    ] = 1.5,
    prompts: Annotated[
        Path | None,
        typer.Option(help="CSV or JSON with conditions to learn, as for generate; else made-up."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed learns the same.")] = 0,
    as_json: Json = False,
) -> None:
    """Teach a copy of a model to draw in few steps, from its own pictures; no radiograph is needed."""
    from synthesis.distillation.distil import Distillation, distil
    from synthesis.distillation.progress import distillation_bars

    wanted = Distillation(
        num_steps=steps,
        num_pairs=pairs,
        guidance=guidance,
        training_steps=training_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    try:
        with distillation_bars() as on_progress:
            done = distil(
                model, out, wanted, adapter=adapter, prompts=prompts, on_progress=on_progress
            )
    except KeyboardInterrupt:
        if not as_json:
            say("stopped; what was drawn is kept, and the same command goes on with it")
        raise
    facts = {
        "out": str(out),
        "steps": steps,
        "weights_digest": done.manifest.weights_digest,
        "first_loss": done.first_loss,
        "last_loss": done.last_loss,
    }
    text = f"a model of {steps} steps: {out} (landing error {done.first_loss:.4f} -> {done.last_loss:.4f})"
    emit(facts, text, as_json=as_json)

"""From what a person asks for to a picture: condition, network, samples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.adapter import merge
from model.arrays import WrongModelFile
from model.checkpoint import load_arrays_into, load_model, load_weights
from model.conditioning import FINDING_STATES, SEXES, VIEWS, Metadata, Schema
from model.pictures import sample_grid, save_png
from model.sampler import sample
from model.transformer import RectifiedFlowTransformer

COLUMNS = 8


class UnknownWish(ValueError):
    """The model knows no such attribute or value."""

    def __init__(self, given: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"{given!r} is not something this model knows: give one of {', '.join(known)}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the radiographs shall show; None and what is left out stay open."""

    age: float | None = None
    sex: str | None = None
    view: str | None = None
    findings: tuple[str, ...] = ()
    """Each ``name=state``."""

    def metadata(self, schema: Schema) -> Metadata:
        """The wish in the model's terms.

        Raises:
            UnknownWish: naming what is not known and what is.
        """
        for value, known in ((self.sex, SEXES), (self.view, VIEWS)):
            if value is not None and value not in known:
                raise UnknownWish(value, known)
        findings = {}
        for text in self.findings:
            name, _, state = text.partition("=")
            if name not in schema.findings:
                raise UnknownWish(name, schema.findings)
            if state not in FINDING_STATES:
                raise UnknownWish(state, FINDING_STATES)
            findings[name] = state
        return Metadata(
            age=self.age,
            sex=self.sex,
            view=self.view,
            race=None,
            site=None,
            manufacturer=None,
            findings=findings,
        )


def draw(
    model: Path,
    out: Path,
    wish: Wish,
    *,
    adapter: Path | None,
    num_images: int,
    num_steps: int,
    guidance: float,
    seed: int,
) -> None:
    """Draw radiographs with a saved model and put them side by side into one PNG.

    Raises:
        UnknownWish: the model does not know what is asked for.
        WrongModelFile: the folder holds no whole model, or the adapter belongs to another one.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    network, schema = load_network(model, adapter)
    row = schema.row(wish.metadata(schema))
    images = sample(
        network,
        torch.from_numpy(np.tile(row, (num_images, 1))),
        image_size=network.config.image_size,
        num_steps=num_steps,
        guidance=guidance,
        method="heun",
        generator=torch.Generator().manual_seed(seed),
    )
    save_png(out, sample_grid(images, min(COLUMNS, num_images)))


def load_network(model: Path, adapter: Path | None) -> tuple[RectifiedFlowTransformer, Schema]:
    """A saved model, with an adapter merged into it if one is given.

    Raises:
        WrongModelFile: a folder is not what it should be, or the adapter belongs to another model.
    """
    network, manifest = load_model(model)
    if adapter is not None:
        arrays, its_manifest = load_weights(adapter)
        if its_manifest.adapter is None or its_manifest.parent_digest != manifest.weights_digest:
            raise WrongModelFile(
                adapter, f"is not an adapter to {model}", "give the model it was made for"
            )
        load_arrays_into(network, merge(network, arrays, its_manifest.adapter))
    return network, Schema(manifest.findings)

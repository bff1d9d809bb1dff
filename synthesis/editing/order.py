"""One edit from the radiograph to the files that are kept of it.

The edited picture belongs to nobody: no element of the source's header is copied, and identifiers
are new. An edited radiograph is no examination of the patient, and must not be filed as one. Its
pixels are still the patient's chest, so it stays where the radiograph may be.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.arrays import replacing
from model.editing.edit import edit
from model.editing.region import Mask
from model.editing.settings import EditSettings
from model.generate import Generator
from model.pictures import encode_png
from model.sampler import Sampling
from synthesis.editing.difference import changed_share, difference_png
from synthesis.editing.methods import MethodName
from synthesis.editing.source import PNG_ENDING, Source
from synthesis.editing.wanted import Wanted
from synthesis.generation.dicom import stored_values, write_dicom
from synthesis.generation.provenance import Provenance
from synthesis.generation.wish import in_words

Pixels = NDArray[np.float32]
ENDINGS = (".dcm", PNG_ENDING)


class WrongEnding(ValueError):
    """A file name that does not tell in which format to write."""

    def __init__(self) -> None:
        super().__init__(f"the edited radiograph is written as {' or '.join(ENDINGS)}: end -o so")


class NotAFlow(ValueError):
    """A distilled model has no velocities to take a difference of."""

    def __init__(self, num_steps: int) -> None:
        super().__init__(
            f"this model was distilled to {num_steps} steps and can only draw: give the model that it was made from"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Order:
    """What to edit, and how."""

    generator: Generator
    source: Source
    wanted: Wanted
    method: MethodName
    settings: EditSettings
    mask: Mask | None
    """0 where every bit stays, 1 where the picture may change; None where it may change everywhere."""

    seed: int

    def __post_init__(self) -> None:
        num_steps = self.generator.manifest.distilled_steps
        if num_steps is not None:
            raise NotAFlow(num_steps)

    def provenance(self) -> Provenance:
        """How the edited picture came about."""
        manifest, settings = self.generator.manifest, self.settings
        return Provenance(
            kind="edited",
            model_digest=manifest.weights_digest,
            adapter_digest=self.generator.adapter_digest,
            condition=in_words(self.wanted.target, manifest.site_numbers),
            seed=self.seed,
            sampling=Sampling(
                num_steps=settings.num_steps, guidance=settings.guidance, method="euler"
            ),
            edits=in_words(self.wanted.edits, manifest.site_numbers),
        )


def carry_out(order: Order) -> Pixels:
    """The edited picture, (row, column) in [-1, 1]."""
    source, target = order.wanted.rows(order.generator.schema)
    edited = edit(
        order.generator,
        torch.from_numpy(order.source.pixels)[None, None],
        torch.from_numpy(source)[None],
        torch.from_numpy(target)[None],
        seed=order.seed,
        settings=order.settings,
        mask=order.mask,
    )
    pixels: Pixels = edited[0, 0].numpy()
    return pixels


def check_place(out: Path) -> None:
    """Refuse a name that tells no format, before the work is done.

    Raises:
        WrongEnding: with the names that do.
    """
    if out.suffix.lower() not in ENDINGS:
        raise WrongEnding


def deliver(out: Path, order: Order, edited: Pixels) -> dict[str, object]:
    """Write the edited picture and, beside it, before, after and difference.

    Returns:
        Facts for a program.
    """
    provenance, before = order.provenance(), order.source.pixels
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == PNG_ENDING:
        content = encode_png(stored_values(edited), {"Provenance": provenance.text()})
        _write(out, content)
    else:
        write_dicom(out, edited, provenance)
    difference = out.with_name(f"{out.stem}.difference.png")
    spoken = ", ".join(f"{name}: {value}" for name, value in sorted(provenance.edits.items()))
    _write(difference, difference_png(before, edited, edits=spoken))
    return {
        "out": str(out),
        "difference": str(difference),
        "image_size": len(edited),
        "method": order.method,
        **provenance.facts(),
        "follows": sorted(order.wanted.follows),
        "assumed": sorted(order.wanted.assumed),
        "freed": sorted(order.wanted.freed),
        "changed_share": round(changed_share(before, edited), 4),
    }


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)

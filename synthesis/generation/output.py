"""Where pictures go: side by side into one PNG, one into a DICOM file, or all into a data set."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from model.arrays import replacing
from model.pictures import encode_png, sample_grid
from synthesis.generation.dataset import Order, write_dataset
from synthesis.generation.dicom import check_kind, write_dicom
from synthesis.generation.plan import draw_groups
from synthesis.generation.progress import OnProgress, drawing_bar

COLUMNS = 8
MAX_SHEET = 1024
"""Pictures that a person can look at on one sheet."""
DICOM_ENDING = ".dcm"


class WrongOutput(ValueError):
    """What was asked for cannot be put where it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One file or one folder."""

    out: Path
    is_dataset: bool

    @property
    def is_dicom_file(self) -> bool:
        """Whether this is one file that holds one picture."""
        return not self.is_dataset and self.out.suffix.lower() == DICOM_ENDING

    @property
    def usual_count(self) -> int:
        """Pictures of one condition, unless a number is given."""
        return 1 if self.is_dicom_file else COLUMNS


def place_of(out: Path | None, dataset: Path | None) -> Place:
    """The place that was given, or the usual one.

    Raises:
        WrongOutput: two were given.
    """
    if out is not None and dataset is not None:
        raise WrongOutput("--out and --dataset do not go together: give one of them")
    if dataset is not None:
        return Place(out=dataset, is_dataset=True)
    return Place(out=out or Path("samples.png"), is_dataset=False)


def draw_and_tell(place: Place, order: Order) -> tuple[dict[str, object], str]:
    """Draw, with a bar on a terminal; what there is now, for programs and for people."""
    with drawing_bar() as on_progress:
        num_drawn = deliver(place, order, on_progress)
    num_pictures = len(order.plan)
    text = f"{num_pictures} radiograph{'s' if num_pictures > 1 else ''}: {place.out}"
    if num_drawn < num_pictures:
        text += f", {num_pictures - num_drawn} of them were there already"
    return {"out": str(place.out), "n": num_pictures, "drawn": num_drawn}, text


def deliver(place: Place, order: Order, on_progress: OnProgress) -> int:
    """Draw everything and put it there.

    Returns:
        Pictures drawn now: of a data set that was begun before, only the rest.

    Raises:
        WrongOutput: one file cannot hold all that.
        OtherDataset, NoView: as ``write_dataset``.
    """
    num_pictures = len(order.plan)
    if place.is_dataset:
        return write_dataset(place.out, order, on_progress)
    if place.is_dicom_file and num_pictures > 1:
        raise WrongOutput(
            f"a DICOM file holds one radiograph, {num_pictures} are asked for: give --n 1, or --dataset FOLDER "
            "--format dicom"
        )
    if num_pictures > MAX_SHEET:
        raise WrongOutput(
            f"a sheet holds at most {MAX_SHEET} radiographs, {num_pictures} are asked for: give --dataset FOLDER"
        )
    place.out.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dicom_file:
        _write_file(place.out, order)
    else:
        _write_sheet(place.out, order, on_progress)
    return num_pictures


def _write_file(path: Path, order: Order) -> None:
    """The only picture, as DICOM."""
    kind = "sc" if order.format == "png" else order.format
    provenance = order.provenance(0)
    check_kind(kind, provenance)
    (images,) = draw_groups(order.generator, order.plan, order.sampling)
    write_dicom(path, images[0, 0].numpy(), provenance, kind=kind)


def _write_sheet(path: Path, order: Order, on_progress: OnProgress) -> None:
    """All pictures side by side, to look at."""
    groups = []
    for images in draw_groups(order.generator, order.plan, order.sampling):
        groups.append(images)
        on_progress(sum(map(len, groups)), len(order.plan))
    grid = sample_grid(torch.cat(groups), min(COLUMNS, len(order.plan)))
    facts = {
        "Description": "Synthetic radiographs, not for diagnosis",
        "Provenance": json.dumps(order.facts(), sort_keys=True),
    }
    with replacing(path) as partial:
        partial.write_bytes(encode_png(grid, facts))

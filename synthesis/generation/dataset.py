"""A whole data set of generated radiographs in a folder: pictures, labels, prompts and how they came about.

`provenance.json` comes first and `labels.csv` last, so a folder with labels is complete. In between,
pictures are written a group at a time, and a group counts once its share of the labels stands in
`parts/`. Killed at any instant, the same command goes on with the next group, with the same bits.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from federation.files import hold_lock
from model.arrays import replacing
from model.generate import BATCH, Generator
from model.pictures import encode_png
from model.sampler import Sampling
from synthesis.generation.dicom import (
    Kind,
    Stored,
    check_kind,
    dicom_bytes,
    stored_values,
    study_uid,
)
from synthesis.generation.labels import label_row, titles
from synthesis.generation.plan import Plan, draw_group
from synthesis.generation.progress import OnProgress
from synthesis.generation.prompts import prompt_lines
from synthesis.generation.provenance import Provenance
from synthesis.generation.wish import in_words, values_of

Format = Literal["png"] | Kind
ENDINGS: dict[Format, str] = {"png": "png", "sc": "dcm", "dx": "dcm"}
PROVENANCE, PROMPTS, LABELS = "provenance.json", "prompts.csv", "labels.csv"
IMAGES, PARTS = "images", "parts"
MIN_DIGITS = 6


class OtherDataset(RuntimeError):
    """The folder belongs to something else."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} holds something else, or a data set that another model, other prompts or other settings "
            "began: give a new folder, or remove this one"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Order:
    """What is drawn, by what, and how it is kept."""

    generator: Generator
    plan: Plan
    sampling: Sampling
    format: Format
    """16-bit PNG, or a kind of DICOM."""

    def provenance(self, picture: int) -> Provenance:
        """How one picture comes about."""
        manifest, schema = self.generator.manifest, self.generator.schema
        return Provenance(
            kind="generated",
            model_digest=manifest.weights_digest,
            adapter_digest=self.generator.adapter_digest,
            condition=in_words(values_of(self.plan.row(picture), schema), manifest.site_numbers),
            seed=int(self.plan.seeds[picture]),
            number=int(self.plan.numbers[picture]),
            sampling=self.sampling,
        )

    def facts(self) -> dict[str, object]:
        """Everything that decides the data set; equal facts give equal bits on one machine."""
        common = self.provenance(0).facts()
        for name in ("condition", "seed", "number", "edits"):
            del common[name]
        manifest = self.generator.manifest
        return {
            **common,
            "study": manifest.study_name,
            "site_numbers": dict(manifest.site_numbers),
            "image_size": self.generator.image_size,
            "format": self.format,
            "num_pictures": len(self.plan),
            "num_prompts": len(self.plan.prompts),
            "plan_digest": self.plan.digest(),
        }


def write_dataset(folder: Path, order: Order, on_progress: OnProgress) -> int:
    """Draw what is not there yet.

    Args:
        folder: new, empty, or begun by the same order.
        order: what to draw.
        on_progress: told how far it is.

    Returns:
        Pictures drawn now.

    Raises:
        OtherDataset: the folder holds something else.
        NoView: DX, and a prompt leaves the view open.
        AlreadyRunning: another process is at work on the folder.
    """
    check_views(order)
    claim(folder, order)
    with hold_lock(folder / PROVENANCE):
        if (folder / LABELS).exists():
            shutil.rmtree(folder / PARTS, ignore_errors=True)
            return 0
        prepare(folder, order)
        num_drawn, plan = 0, order.plan
        for number in range(plan.num_batches):
            if not _part(folder, number).exists():
                num_drawn += write_group(folder, order, number)
            on_progress(min((number + 1) * BATCH, len(plan)), len(plan))
        finish(folder, order)
    return num_drawn


def check_views(order: Order) -> None:
    """Refuse at once what a picture in the middle would be refused for."""
    if order.format == "png":
        return
    plan = order.plan
    for picture in np.unique(plan.prompt_of, return_index=True)[1]:
        check_kind(order.format, order.provenance(int(picture)))


def claim(folder: Path, order: Order) -> None:
    """Take a new or empty folder for this order, or find that it is this order's already."""
    content = json.dumps(order.facts(), indent=2) + "\n"
    mark = folder / PROVENANCE
    if mark.is_file():
        if mark.read_text(encoding="utf-8") != content:
            raise OtherDataset(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(not _is_leftover(path) for path in folder.iterdir()):
        raise OtherDataset(folder)
    with replacing(mark) as partial:
        partial.write_text(content, encoding="utf-8")


def prepare(folder: Path, order: Order) -> None:
    """The folder's rooms, without what a killed process left half written, and the prompts."""
    for name in (IMAGES, PARTS):
        (folder / name).mkdir(exist_ok=True)
    for room in (folder, folder / IMAGES, folder / PARTS):
        for path in filter(_is_leftover, room.iterdir()):
            path.unlink()
    schema, site_numbers = order.generator.schema, order.generator.manifest.site_numbers
    _write_table(folder / PROMPTS, prompt_lines(order.plan.prompts, schema, site_numbers))


def write_group(folder: Path, order: Order, number: int) -> int:
    """Draw one group and put it on the disk, its share of the labels last."""
    images = draw_group(order.generator, order.plan, number, order.sampling)
    lines = []
    for picture, image in zip(order.plan.batch(number), images.numpy()[:, 0], strict=True):
        provenance, stored = order.provenance(picture), stored_values(image)
        file = _file_name(order, picture)
        _put(folder / file, _encoded(image, stored, provenance, order.format))
        uid = study_uid(stored, provenance)
        lines.append(label_row(file, uid, provenance, order.generator.schema))
    os.sync()  # one for all: waiting for each small file takes longer than drawing it
    _write_table(_part(folder, number), lines)
    return len(lines)


def finish(folder: Path, order: Order) -> None:
    """Put the labels together, which makes the data set complete."""
    _write_table(folder / LABELS, _all_labels(folder, order))
    shutil.rmtree(folder / PARTS)


def _all_labels(folder: Path, order: Order) -> Iterator[Sequence[str]]:
    yield titles(order.generator.schema)
    for number in range(order.plan.num_batches):
        with _part(folder, number).open(newline="", encoding="utf-8") as part:
            yield from csv.reader(part)


def _encoded(image: np.ndarray, stored: Stored, provenance: Provenance, kind: Format) -> bytes:
    if kind == "png":
        return encode_png(
            stored, {"Description": provenance.sentence(), "Provenance": provenance.text()}
        )
    return dicom_bytes(image, provenance, kind=kind)


def _file_name(order: Order, picture: int) -> str:
    digits = max(MIN_DIGITS, len(str(len(order.plan) - 1)))
    return f"{IMAGES}/{picture:0{digits}d}.{ENDINGS[order.format]}"


def _part(folder: Path, number: int) -> Path:
    return folder / PARTS / f"{number:08d}.csv"


def _is_leftover(path: Path) -> bool:
    """Whether a process was killed while it wrote this file."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def _put(path: Path, content: bytes) -> None:
    """A file that is whole or absent if the process is killed, and on the disk after the next sync."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _write_table(path: Path, lines: Iterable[Sequence[str]]) -> None:
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)

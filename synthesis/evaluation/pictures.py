"""The pictures of a report, ready to stand in a page: samples beside real radiographs, and nearest pairs."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.conditioning import Schema
from synthesis.evaluation.diversity import NUM_EACH
from synthesis.evaluation.evaluate import Measured
from synthesis.evaluation.radiographs import Radiographs
from synthesis.generation.wish import in_words, values_of

MAX_SIDE = 256
"""Pixels of a picture on the page; larger ones are reduced."""

NUM_CONDITIONS = 6
NUM_OTHERS = 24
SILENT = {"absent", "not_mentioned"}
"""States that a caption leaves out, for brevity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One condition: what was asked for, what a patient with it looks like, and samples."""

    asked: str
    real: str | None
    samples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairPictures:
    """A sample and the training radiograph nearest to it."""

    sample: str
    training: str | None
    ratio: float
    is_flagged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """All pictures of a page, as data URIs."""

    rows: tuple[Row, ...]
    others: tuple[str, ...]
    """Further samples, each for another condition."""

    pairs: tuple[PairPictures, ...]

    @property
    def shows_patients(self) -> bool:
        """Whether any of them is a real radiograph."""
        return any(row.real for row in self.rows)


def pictures(
    measured: Measured, schema: Schema, site_numbers: Mapping[str, int], *, with_real: bool
) -> Pictures:
    """Choose and pack.

    Args:
        measured: the radiographs.
        schema: what the conditions' columns are.
        site_numbers: the model's names of hospitals, for captions.
        with_real: whether real radiographs may be shown.
    """
    real, samples = measured.chosen.held_out, measured.samples
    first = samples.repeated_places[:NUM_CONDITIONS]
    rows = tuple(
        Row(
            asked=caption(real.rows[place], schema, site_numbers),
            real=_uri(real, int(place)) if with_real else None,
            samples=tuple(
                _uri(samples.repeated, number * NUM_EACH + again) for again in range(NUM_EACH)
            ),
        )
        for number, place in enumerate(first.tolist())
    )
    others = range(min(NUM_OTHERS, len(samples.held_out)))
    return Pictures(
        rows=rows,
        others=tuple(_uri(samples.held_out, place) for place in others),
        pairs=_pairs(measured, with_real=with_real),
    )


def caption(row: NDArray[np.float32], schema: Schema, site_numbers: Mapping[str, int]) -> str:
    """A condition in a few words; what is absent or not mentioned is left out."""
    values = in_words(values_of(row, schema), site_numbers)
    words = []
    for name, value in values.items():
        if value in SILENT:
            continue
        plain = name.replace("_", " ")
        if value == "present":
            words.append(plain)
        elif name in {"sex", "view"}:
            words.append(value)
        else:
            words.append(f"{value} years" if name == "age" else f"{plain} {value}")
    return ", ".join(words) or "nothing"


def _pairs(measured: Measured, *, with_real: bool) -> tuple[PairPictures, ...]:
    """Samples for held-out conditions come first in the search, then those for training ones."""
    drawn, more = measured.samples.held_out, measured.samples.training
    found = []
    for pair in measured.evaluation.copying.pairs:
        place = pair.sample
        uri = _uri(drawn, place) if place < len(drawn) else _uri(more, place - len(drawn))
        training = _uri(measured.hospitals.training, pair.training) if with_real else None
        found.append(
            PairPictures(
                sample=uri, training=training, ratio=pair.ratio, is_flagged=pair.is_flagged
            )
        )
    return tuple(found)


def _uri(radiographs: Radiographs, place: int) -> str:
    """One picture as PNG."""
    images, _ = radiographs.source.batch(radiographs.places[[place]])
    grey = ((images[0, 0].clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    picture, file = Image.fromarray(grey), io.BytesIO()
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    picture.save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

"""The radiograph that is edited: a DICOM file as a hospital's ingest would see it, or a grey PNG."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.dicom.geometry import to_square
from client.dicom.outcome import Radiograph
from client.dicom.picture import Picture
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Refused, Rejection, describe_count
from model.conditioning import Schema
from synthesis.editing.own_file import read_own
from synthesis.generation.wish import SiteNumbers, Value, parse_value, values_of

PNG_ENDING = ".png"
POLICY = ReadPolicy(synthetic=True)
"""Whatever a chest radiograph can be; also one that this program drew."""
_LARGEST = {"uint8": 255, "uint16": 65535}


class NotEditable(ValueError):
    """A file holds no radiograph that can be edited; nothing but the reason is said of it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this file cannot be edited, it is {why}: give a chest radiograph")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A radiograph, and what its file tells of it."""

    image: NDArray[np.uint16]
    """(image_size, image_size), 0 black to 65535 white."""

    known: dict[str, Value]
    """Attributes that the model knows -> values, from the header; empty for a PNG."""

    @property
    def pixels(self) -> NDArray[np.float32]:
        """As the network sees it, (image_size, image_size) in [-1, 1]."""
        pixels: NDArray[np.float32] = self.image * np.float32(2.0 / 65535.0) - np.float32(1.0)
        return pixels


def read_source(path: Path, image_size: int, schema: Schema, site_numbers: SiteNumbers) -> Source:
    """Read a radiograph and bring it to the model's size.

    Args:
        path: a PNG if its name says so, anything else is taken for DICOM.
        image_size: side in pixels.
        schema: the attributes that the model knows.
        site_numbers: its hospitals.

    Raises:
        NotEditable: with the reason.
    """
    if not path.is_file():
        raise NotEditable("not there")
    if path.suffix.lower() == PNG_ENDING:
        return Source(image=_png(path, image_size), known={})
    own = read_own(path, image_size)
    if own is not None:
        return Source(image=own.image, known=_understood(own.condition, schema, site_numbers))
    outcome = read_file(path, image_size=image_size, policy=POLICY)
    if isinstance(outcome, Rejection):
        raise NotEditable(_phrase(outcome))
    if not isinstance(outcome, Radiograph):
        raise NotEditable("a report")
    return Source(image=outcome.image, known=values_of(schema.row(outcome.metadata), schema))


def read_grey_png(path: Path) -> NDArray[np.float32]:
    """Grey values in [0, 1], (row, column); 8 or 16 bits.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not grey.
    """
    with Image.open(path, formats=("PNG",)) as opened:
        grey = opened.convert("L") if opened.mode in {"1", "LA"} else opened.copy()
    values = np.asarray(grey)
    if values.ndim != 2 or values.dtype.name not in _LARGEST:
        raise ValueError("not grey")
    shares: NDArray[np.float32] = (values / _LARGEST[values.dtype.name]).astype(np.float32)
    return shares


def _png(path: Path, image_size: int) -> NDArray[np.uint16]:
    """Of the model's size it is taken bit for bit; of another size it is treated like a radiograph."""
    try:
        shares = read_grey_png(path)
    except ValueError:
        raise NotEditable("in colour") from None
    except (OSError, Image.DecompressionBombError, SyntaxError):
        raise NotEditable("no PNG that can be read") from None
    stored = np.rint(shares.astype(np.float64) * 65535).astype(np.uint16)
    if stored.shape == (image_size, image_size):
        return stored
    table = np.linspace(0.0, 1.0, 65536, dtype=np.float32)
    picture = Picture(patterns=stored, table=table, measured=None)
    try:
        return to_square(picture, aspect=1.0, image_size=image_size).image
    except Refused as refusal:
        raise NotEditable(_phrase(Rejection(reason=refusal.reason))) from None


def _understood(
    condition: Mapping[str, str], schema: Schema, site_numbers: SiteNumbers
) -> dict[str, Value]:
    """What this model understands of what another may have been asked for."""
    known = {}
    for name, word in condition.items():
        with suppress(ValueError):
            known[name] = parse_value(name, word, schema, site_numbers)
    return known


def _phrase(rejection: Rejection) -> str:
    """The reason in words."""
    return describe_count(rejection.reason, 1).removeprefix("1 ")

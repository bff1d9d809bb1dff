"""A DICOM file that this program wrote itself: its picture is taken bit for bit, its condition as it was meant.

So a second edit begins where the first one ended. Read like any other file, the picture would be stretched and cut
anew, and the maker of its machine would be this program.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from client.dicom.header import DAMAGED_FILE_ERRORS
from client.dicom.parse import parse_file
from client.dicom.policy import ReadPolicy
from client.dicom.rejection import Refused
from synthesis.generation.dicom import read_provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnFile:
    """What this program wrote."""

    image: NDArray[np.uint16]
    """(row, column), 0 black to 65535 white."""

    condition: dict[str, str]
    """Attribute -> value in words."""


def read_own(path: Path, image_size: int) -> OwnFile | None:
    """The file's content if this program wrote it at this size; None for any other file."""
    try:
        header = parse_file(path, max_bytes=ReadPolicy().max_file_bytes)
        return _own(header, image_size)
    except (Refused, *DAMAGED_FILE_ERRORS):
        return None


def _own(header: Dataset, image_size: int) -> OwnFile | None:
    provenance = read_provenance(header)
    if provenance is None or (header.Rows, header.Columns) != (image_size, image_size):
        return None
    condition = {str(name): str(word) for name, word in json.loads(provenance)["condition"].items()}
    pixels = np.frombuffer(header.PixelData, "<u2").reshape(image_size, image_size)
    return OwnFile(image=pixels.astype(np.uint16), condition=condition)

"""Sheets of small radiographs, chosen by a seed: pixels and nothing else."""

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.cache.images import Images
from client.dicom.outcome import Flag

NUM_RANDOM = 48
NUM_PER_FLAG = 12
_SIDE = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """Some of the radiographs that a heading speaks of."""

    num_all: int
    """Radiographs that it speaks of."""
    pictures: tuple[str, ...]
    """As PNG in data URIs."""


def random_sheet(images: Images, *, seed: int) -> Sheet:
    """Some of all radiographs."""
    return _sheet(images, np.arange(len(images)), NUM_RANDOM, seed=seed)


def flag_sheets(images: Images, flags: NDArray[np.uint32], *, seed: int) -> Mapping[Flag, Sheet]:
    """Some of the radiographs that carry each flag; flags that none carries are left out.

    Args:
        images: n pictures.
        flags: (n,), one bit a flag, the first flag lowest.
        seed: decides which are shown.
    """
    return {
        flag: _sheet(images, flagged, NUM_PER_FLAG, seed=seed)
        for flag, flagged in _by_flag(flags)
        if len(flagged)
    }


def _by_flag(flags: NDArray[np.uint32]) -> Iterator[tuple[Flag, NDArray[np.intp]]]:
    for bit, flag in enumerate(Flag):
        yield flag, np.flatnonzero(flags >> np.uint32(bit) & np.uint32(1))


def _sheet(images: Images, of: NDArray[np.intp], num_shown: int, *, seed: int) -> Sheet:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(of, min(num_shown, len(of)), replace=False)
    return Sheet(
        num_all=len(of), pictures=tuple(_png(images[int(index)]) for index in sorted(chosen))
    )


def _png(image: NDArray[np.uint16]) -> str:
    small = Image.fromarray((image >> 8).astype(np.uint8))
    if small.width != _SIDE:
        small = small.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    small.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")

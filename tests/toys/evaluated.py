"""Hospitals of pictures that show what they are asked for, and a model that is any function of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.tally import Tally
from model.conditioning import FINDINGS, Metadata, Schema
from model.sampler import Sampling
from synthesis.evaluation.drawn import Drawn, Studio

SIDE = 16
NUM = 220
SCHEMA = Schema()
FillCache = Callable[..., None]


def picture(row: NDArray[np.float32], patient: int) -> NDArray[np.float32]:
    """A square that shows an attribute in each corner, over a pattern of the patient's own; in [-1, 1]."""
    pattern = np.random.default_rng([3, patient]).normal(0.0, 0.25, (SIDE // 2, SIDE // 2))
    image = np.kron(pattern, np.ones((2, 2)))
    names = ("sex", "view", "cardiomegaly")
    corners = (
        (slice(0, 6), slice(0, 6)),
        (slice(0, 6), slice(10, 16)),
        (slice(10, 16), slice(0, 6)),
    )
    for name, corner in zip(names, corners, strict=True):
        image[corner] += 0.5 if row[SCHEMA.names.index(name)] == 2 else -0.5
    image[10:, 10:] += row[0] / 50 - 1
    return np.asarray(np.clip(image, -1, 1), dtype=np.float32)


def rows_of(count: int, seed: int) -> NDArray[np.float32]:
    """Conditions, each of its own age."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            SCHEMA.row(
                Metadata(
                    age=round(20 + 60 * number / count, 3),
                    sex=str(rng.choice(["F", "M"])),
                    view=str(rng.choice(["PA", "AP"])),
                    race=None,
                    site=None,
                    manufacturer=None,
                    findings={"cardiomegaly": str(rng.choice(["present", "absent"]))},
                )
            )
            for number in range(count)
        ]
    )


def write_hospital(path: Path, fill_cache: FillCache, *, seed: int, held_out: float = 0.3) -> None:
    """A cache of such pictures, one radiograph a patient."""
    rows = rows_of(NUM, seed)
    is_held_out = np.random.default_rng(seed).random(NUM) < held_out
    images = [picture(row, 1000 * seed + place) for place, row in enumerate(rows)]
    fill_cache(
        path,
        images=[((image + 1) * 32767.5).round().astype(np.uint16) for image in images],
        rows=rows,
        patients=np.arange(NUM, dtype=np.uint64),
        held_out=is_held_out,
        findings=FINDINGS,
        tally=Tally(
            num_files=NUM,
            num_usable=NUM,
            refused={},
            num_patients=NUM,
            num_held_out=int(is_held_out.sum()),
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Painter(Studio):
    """Draws with a function of what is asked for, the seed and the number."""

    paint: Callable[[NDArray[np.float32], int], NDArray[np.float32]]

    def draw(self, what: str, rows: NDArray[np.float32], *, seed: int, sampling: Sampling) -> Drawn:  # noqa: ARG002
        """One picture per row."""
        numbers = range(10_000 * (seed + 1), 10_000 * (seed + 1) + len(rows))
        images = [self.paint(row, place) for row, place in zip(rows, numbers, strict=True)]
        pixels = ((np.stack(images) + 1) * 32767.5).round().astype(np.uint16)
        return Drawn(pixels=pixels, rows=rows)


def quiet(_what: str, _done: int, _all: int) -> None:
    """Say nothing."""


def asked(row: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """What is asked for, and chance for the rest."""
    rng = np.random.default_rng(number)
    guess = np.where(row == 0, rng.integers(1, 3, len(row)), row)
    guess[0] = rng.uniform(20, 80) if np.isnan(row[0]) else row[0]
    return guess.astype(np.float32)

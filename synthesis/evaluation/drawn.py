"""Drawn radiographs, kept in a file while they are measured, so that their number is not bound by memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.generate import Generator, draw_batches
from model.sampler import Sampling
from synthesis.evaluation.radiographs import Radiographs

WHITE = 65535
"""Pictures are kept as a hospital's cache keeps them: 16 bits, 0 black."""

OnProgress = Callable[[str, int, int], None]
"""What is done, how much of it, of how much."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """n pictures on the disk."""

    pixels: NDArray[np.uint16]
    """(n, h, w), memory-mapped."""

    rows: NDArray[np.float32]
    """(n, attribute), what was asked for."""

    def batch(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Images (batch, 1, h, w) in [-1, 1], and conditions."""
        images = self.pixels[indices].astype(np.float32)[:, None] * np.float32(2.0 / WHITE)
        return torch.from_numpy(images - np.float32(1.0)), torch.from_numpy(self.rows[indices])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Studio:
    """Where pictures are drawn."""

    generator: Generator
    folder: Path
    """Gets the files; whoever made it removes it."""

    on_progress: OnProgress

    def draw(self, what: str, rows: NDArray[np.float32], *, seed: int, sampling: Sampling) -> Drawn:
        """One picture per row.

        Args:
            what: name of the set, for progress and the file.
            rows: (n, attribute), at least one.
            seed: of the noise.
            sampling: how to walk from noise to picture.
        """
        side = self.generator.image_size
        path = self.folder / what.replace(" ", "-")
        pixels = np.memmap(path, dtype=np.uint16, mode="w+", shape=(len(rows), side, side))
        done, condition = 0, torch.from_numpy(rows)
        batches = draw_batches(self.generator, condition, seed=seed, sampling=sampling)
        self.on_progress(what, 0, len(rows))
        for images in batches:
            grey = ((images[:, 0] + 1) * (WHITE / 2)).round().numpy()
            pixels[done : done + len(grey)] = grey.astype(np.uint16)
            done += len(grey)
            self.on_progress(what, done, len(rows))
        return Drawn(pixels=pixels, rows=rows)


def drawn_like(real: Radiographs, drawn: Drawn) -> Radiographs:
    """A file's pictures, one for each real radiograph, with what was asked for."""
    return replace(real, source=drawn, places=np.arange(len(real)), rows=drawn.rows)

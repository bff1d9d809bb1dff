"""The steps of a published comparison, so that a site with its encoder's weights can meet its table.

CheXGenBench (Dutt et al. 2025, https://arxiv.org/abs/2505.10496) makes every picture 8-bit and 299 pixels wide
before the encoder's own preprocessing, drops real radiographs whose prompt occurred before, and takes the kernel
distance of the whole set at once. Its prompts are sentences; here a prompt is a condition.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model.evaluation.encoders.encoder import Encoder

SIDE = 299
"""Pixels."""

SOURCE = "CheXGenBench test set, RAD-DINO features; De Sousa Ribeiro et al. 2026, https://arxiv.org/abs/2606.19460"


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One line of the published table."""

    model: str
    frechet: float
    kernel: float
    precision: float
    recall: float
    density: float
    coverage: float


def _line(model: str, *numbers: float) -> Published:
    frechet, kernel, precision, recall, density, coverage = numbers
    return Published(
        model=model,
        frechet=frechet,
        kernel=kernel,
        precision=precision,
        recall=recall,
        density=density,
        coverage=coverage,
    )


PUBLISHED = (
    _line("SD3.5-M, 2.5B", 91.30, 0.103, 0.632, 0.205, 0.401, 0.244),
    _line("LLM-CXR, 12B", 71.24, 0.061, 0.782, 0.041, 0.671, 0.459),
    _line("RadEdit, 0.8B", 69.70, 0.033, 0.397, 0.544, 0.150, 0.285),
    _line("PixArt-Sigma, 0.6B", 60.15, 0.023, 0.666, 0.522, 0.506, 0.506),
    _line("Sana, 0.6B", 54.23, 0.016, 0.674, 0.614, 0.520, 0.548),
    _line("RadiT-B pixel, 0.3B", 29.26, 0.0258, 0.745, 0.348, 0.526, 0.477),
    _line("RadUNet pixel, 0.3B", 25.42, 0.0209, 0.746, 0.423, 0.545, 0.528),
    _line("RadiT-B, 0.3B", 16.88, 0.0050, 0.780, 0.673, 0.627, 0.595),
    _line("RadUNet, 0.5B", 16.87, 0.0051, 0.791, 0.682, 0.638, 0.602),
    _line("RadiT XL, 1.3B", 13.15, 0.0013, 0.759, 0.860, 0.568, 0.637),
)
"""At 512 pixels."""


class Through299:
    """An encoder that sees every picture through 299 pixels of 8 bits."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name = f"{encoder.name}, through {SIDE} pixels"
        self.num_features = encoder.num_features

    def features(self, images: Tensor) -> NDArray[np.float32]:
        """Features of pictures (batch, 1, h, w) in [-1, 1]."""
        grey = ((images[:, 0].clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
        resized = [
            Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            for picture in grey
        ]
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in resized]))
        return self._encoder.features(pixels[:, None].float() / 127.5 - 1)


def first_of_each(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places of the rows that do not repeat an earlier one, in order."""
    known = np.nan_to_num(rows, nan=-1.0)
    _, first = np.unique(known, axis=0, return_index=True)
    return np.sort(first)

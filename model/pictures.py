"""Generated radiographs as one grey picture that a person can look at."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

SEPARATOR = 2
"""Pixels between two pictures."""


def sample_grid(
    images: Float[Tensor, "picture 1 height width"], columns: int
) -> UInt8[np.ndarray, "grid_height grid_width"]:
    """Lay pictures out row by row, with thin black lines between them.

    Args:
        images: pixels in [-1, 1]; values outside are clipped.
        columns: pictures per row; places left over in the last row stay black.
    """
    if columns < 1:
        raise ValueError(f"columns is {columns}, it must be at least 1")
    grey = ((images.detach().cpu().float().clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    count, _, height, width = grey.shape
    rows = -(-count // columns)
    cell_height, cell_width = height + SEPARATOR, width + SEPARATOR
    grid = np.zeros((rows * cell_height, columns * cell_width), dtype=np.uint8)
    for number, picture in enumerate(grey[:, 0]):
        top, left = number // columns * cell_height, number % columns * cell_width
        grid[top : top + height, left : left + width] = picture
    return grid[:-SEPARATOR, :-SEPARATOR]


def encode_png(array: Shaped[np.ndarray, "height width"], facts: Mapping[str, str]) -> bytes:
    """A picture as a PNG file that says what it is.

    Args:
        array: grey values, uint8 or uint16.
        facts: keyword of at most 79 letters -> text, which goes into the file beside the pixels.
    """
    info = PngInfo()
    for name, text in facts.items():
        info.add_itxt(name, text)
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def save_png(path: Path, array: UInt8[np.ndarray, "height width"]) -> None:
    """Write grey values as a PNG file, without loss."""
    Image.fromarray(array).save(path, format="PNG")

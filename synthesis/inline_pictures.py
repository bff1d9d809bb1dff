"""Radiographs as pictures inside a page, which then needs no other file."""

import base64
import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

USUAL_COMPRESSION = 6
NO_COMPRESSION = 0


def grey_values(
    images: Float[Tensor, "picture 1 height width"],
) -> UInt8[np.ndarray, "picture height width"]:
    """Pixels in [-1, 1] as 0 to 255; values outside are clipped. Real and synthetic ones go through this alike."""
    grey: np.ndarray = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    return grey[:, 0]


def png(grey: UInt8[np.ndarray, "height width"], *, compression: int = USUAL_COMPRESSION) -> str:
    """A PNG file without metadata, in base64.

    Args:
        grey: the picture.
        compression: 0 to 9; with 0 the length depends on the picture's size only, and tells nothing of what is in it.
    """
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", compress_level=compression)
    return base64.b64encode(file.getvalue()).decode("ascii")

"""Where an edit may change the picture, from what a person gives: a mask picture or a box."""

from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from model.editing.region import Box, WrongBox, WrongMask, box_mask, check_mask
from synthesis.editing.source import read_grey_png

Mask = Float[Tensor, "1 1 height width"]


class TwoPlaces(ValueError):
    """A mask and a box."""

    def __init__(self) -> None:
        super().__init__("--mask and --box do not go together: give one of them")


def mask_of(path: Path | None, box: str | None, image_size: int) -> Mask | None:
    """The mask that was given; None if the whole picture may change.

    Raises:
        TwoPlaces, WrongMask, WrongBox: it cannot be used.
    """
    if path is not None and box is not None:
        raise TwoPlaces
    if path is not None:
        return read_mask(path, image_size)
    return None if box is None else parse_box(box, image_size)


def read_mask(path: Path, image_size: int) -> Mask:
    """A grey PNG of the picture's size: white may change, black keeps every bit, grey fades.

    Raises:
        WrongMask: it cannot be read, or does not fit the picture.
    """
    try:
        shares = read_grey_png(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise WrongMask("is no grey PNG that can be read") from None
    mask = torch.from_numpy(shares.copy())[None, None]
    check_mask(mask, (1, 1, image_size, image_size))
    return mask


def parse_box(text: str, image_size: int) -> Mask:
    """A rectangle, ``LEFT,TOP,RIGHT,BOTTOM`` in shares of the picture's side.

    Raises:
        WrongBox: it is none.
    """
    try:
        left, top, right, bottom = map(float, text.split(","))
    except ValueError:
        raise WrongBox from None
    return box_mask(Box(left=left, top=top, right=right, bottom=bottom), image_size)

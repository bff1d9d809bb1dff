"""Radiographs as sequences of square patches, and back; no pixel is changed or lost."""

import torch
from jaxtyping import Float
from torch import Tensor


def patchify(
    image: Float[Tensor, "batch draw 1 height width"], patch_size: int
) -> Float[Tensor, "batch draw patch pixel"]:
    """Cut into patches, row by row; the pixels of a patch also row by row.

    Raises:
        ValueError: a side is not a multiple of ``patch_size``.
    """
    height, width = image.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"an image of {height} x {width} pixels does not divide into patches of {patch_size}: "
            "choose sides that are multiples of it"
        )
    rows = torch.unflatten(image.squeeze(2), 2, (height // patch_size, patch_size))
    cells = torch.unflatten(rows, 4, (width // patch_size, patch_size)).transpose(3, 4)
    return cells.flatten(4, 5).flatten(2, 3)


def unpatchify(
    patches: Float[Tensor, "batch draw patch pixel"], grid: tuple[int, int], patch_size: int
) -> Float[Tensor, "batch draw 1 height width"]:
    """Put the patches of ``patchify`` back together; ``grid`` is patches down, patches across."""
    pixels = torch.unflatten(patches, 3, (patch_size, patch_size))
    cells = torch.unflatten(pixels, 2, grid)
    return cells.transpose(3, 4).flatten(4, 5).flatten(2, 3).unsqueeze(2)

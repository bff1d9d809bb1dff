"""Pictures as sequences of square patches, and back; no value is changed or lost."""

import torch
from jaxtyping import Float
from torch import Tensor


def patchify(
    image: Float[Tensor, "batch draw channel height width"], patch_size: int
) -> Float[Tensor, "batch draw patch value"]:
    """Cut into patches, row by row; the values of a patch channel by channel, each row by row.

    Raises:
        ValueError: a side is not a multiple of ``patch_size``.
    """
    height, width = image.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"an image of {height} x {width} pixels does not divide into patches of {patch_size}: "
            "choose sides that are multiples of it"
        )
    rows = torch.unflatten(image, 3, (height // patch_size, patch_size))
    cells = torch.unflatten(rows, 5, (width // patch_size, patch_size))
    return cells.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 6).flatten(2, 3)


def unpatchify(
    patches: Float[Tensor, "batch draw patch value"], grid: tuple[int, int], patch_size: int
) -> Float[Tensor, "batch draw channel height width"]:
    """Put the patches of ``patchify`` back together; ``grid`` is patches down, patches across."""
    squares = torch.unflatten(patches, 3, (-1, patch_size, patch_size))
    cells = torch.unflatten(squares, 2, grid)
    return cells.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)

"""Where an edit may change a picture: 1 where it may, 0 where it must not, values between fade."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import max_pool2d

Mask = Float[Tensor, "mask 1 mask_height mask_width"]
"""One for all pictures, or one for each."""


class WrongMask(ValueError):
    """A mask cannot be laid over the picture."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the mask {problem}: give one of the edited picture's size, white where it may change"
        )


class WrongBox(ValueError):
    """Numbers that bound no part of a picture."""

    def __init__(self) -> None:
        super().__init__(
            "a box is LEFT,TOP,RIGHT,BOTTOM in shares of the picture's side: each from 0 to 1, left before right, "
            "top before bottom"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle, in shares of the picture's side from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise WrongBox


def box_mask(box: Box, image_size: int) -> Float[Tensor, "1 1 height width"]:
    """1 on every pixel whose centre lies in the box."""
    centre = (torch.arange(image_size) + 0.5) / image_size
    rows = (centre >= box.top) & (centre < box.bottom)
    columns = (centre >= box.left) & (centre < box.right)
    return (rows[:, None] & columns).float()[None, None]


def check_mask(mask: Mask, shape: Sequence[int]) -> None:
    """Raise WrongMask unless the mask fits pictures of shape (batch, 1, height, width)."""
    if tuple(mask.shape[2:]) != tuple(shape[2:]) or len(mask) not in {1, shape[0]}:
        raise WrongMask(
            f"has {mask.shape[3]} x {mask.shape[2]} pixels, not {shape[3]} x {shape[2]}"
        )
    if not ((mask >= 0) & (mask <= 1)).all():
        raise WrongMask("has values outside 0 to 1")
    if not mask.any():
        raise WrongMask("lets nothing change")


def feathered(mask: Mask, width: int) -> Mask:
    """The mask, fading to its border over ``width`` pixels inside; outside it stays 0.

    The picture's own edge is no border.
    """
    outside = (mask == 0).float()
    inside = torch.zeros_like(mask)
    for _ in range(width + 1):
        inside += 1 - outside
        outside = max_pool2d(outside, kernel_size=3, stride=1, padding=1)
    return mask * inside / (width + 1)


def latent_region(mask: Mask, factor: int) -> Float[Tensor, "mask 1 latent_height latent_width"]:
    """1 for every latent pixel under which anything may change, otherwise 0."""
    return max_pool2d((mask > 0).float(), kernel_size=factor)

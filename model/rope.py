"""Axial rotary positions: half of a head turns with the row of a patch, half with its column.

Patch centres are placed on a reference grid of 16 by 16 whatever the resolution, so a network that
was trained on one image size sees the same anatomy at the same angles on another. (Su et al. 2021,
https://arxiv.org/abs/2104.09864.)
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

REFERENCE_GRID = 16.0
BASE = 100.0
"""Ratio between the fastest and (almost) the slowest rotation."""

Rotation = tuple[Float[Tensor, "token channel"], Float[Tensor, "token channel"]]
"""For every token the cosine of every channel's angle, and its sine, negative in the first half of a head."""


@lru_cache(maxsize=16)
def rotation(
    rows: int, columns: int, *, num_unplaced: int, head_dim: int, device: torch.device
) -> Rotation:
    """Angles for ``num_unplaced`` tokens that do not turn, followed by a grid of patches.

    Args:
        rows: patches from top to bottom.
        columns: patches from left to right.
        num_unplaced: tokens without a place, in front of the patches.
        head_dim: width of an attention head.
        device: where the attention happens.
    """
    with torch.inference_mode(mode=False):  # the table is kept, and training may use it next
        frequencies = BASE ** (-torch.arange(head_dim // 4, dtype=torch.float64) / (head_dim // 4))
        down = _centres(rows)[:, None] * frequencies
        across = _centres(columns)[:, None] * frequencies
        placed = torch.cat([down.repeat_interleave(columns, dim=0), across.repeat(rows, 1)], dim=-1)
        angles = torch.cat([placed.new_zeros(num_unplaced, head_dim // 2), placed])
        cosine, sine = angles.cos().float().to(device), angles.sin().float().to(device)
        return cosine.repeat(1, 2), torch.cat([-sine, sine], dim=-1)


def rotate(
    heads: Float[Tensor, "record head token channel"], angles: Rotation
) -> Float[Tensor, "record head token channel"]:
    """Turn channel i together with channel i + half."""
    cosine, sine = (part.to(heads.dtype) for part in angles)
    return torch.addcmul(heads * cosine, heads.roll(heads.shape[-1] // 2, dims=-1), sine)


def _centres(count: int) -> Float[Tensor, " count"]:
    """Middle of each of ``count`` patches on the reference grid."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count * REFERENCE_GRID

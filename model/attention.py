"""Attention without parameters: every token of a draw looks at every other.

Torch's fused kernel is the fastest and leanest everywhere but in bfloat16 on a processor, where it
leaves the fast matrix instructions unused; two plain matrix products take half its time there.
"""

import torch
import torch.nn.functional as F  # noqa: N812  the name every reader knows
from jaxtyping import Float
from torch import Tensor

MAX_PLAIN_TOKENS = 2048
"""The plain products keep token x token numbers for the backward pass; beyond this many, too much."""

Heads = Float[Tensor, "record head token channel"]


def attend(query: Heads, key: Heads, value: Heads) -> Heads:
    """Mix the values of all tokens by how well their keys match a query (Vaswani et al. 2017)."""
    on_processor = query.dtype is torch.bfloat16 and query.device.type == "cpu"
    if on_processor and query.shape[2] <= MAX_PLAIN_TOKENS:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        mixed: Tensor = scores.softmax(dim=-1) @ value
        return mixed
    return F.scaled_dot_product_attention(query, key, value)

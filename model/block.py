"""One transformer block: attention, then a gated feed-forward layer, both under adaLN.

Tensors are (batch, draw, token, dim). A draw is one noising of one record; the layers see draws
and tokens as one axis, because differential privacy clips per record and its engine wants batch
first and at most three dimensions. Attention stays within a draw.
"""

import torch
import torch.nn.functional as F  # noqa: N812  the name every reader knows
from jaxtyping import Float
from torch import Tensor, nn

from model.attention import attend
from model.config import ModelConfig
from model.rope import Rotation, rotate

EPS = 1e-6
"""Written out: the default is the dtype's own, which is 0.008 in bfloat16."""

Stream = Float[Tensor, "batch draw token dim"]
Heads = Float[Tensor, "record head token channel"]
"""One row of records and draws, as attention wants them."""


class Block(nn.Module):
    """Attention with normalised queries and keys, and SwiGLU; no biases.

    The scale, shift and gate of both halves come from outside (adaLN-Zero: Peebles and Xie 2022,
    https://arxiv.org/abs/2212.09748).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.q_norm = nn.RMSNorm(config.head_dim, eps=EPS)
        self.k_norm = nn.RMSNorm(config.head_dim, eps=EPS)
        self.proj = nn.Linear(config.dim, config.dim, bias=False)
        self.w12 = nn.Linear(config.dim, 2 * config.hidden_dim, bias=False)
        self.w3 = nn.Linear(config.hidden_dim, config.dim, bias=False)

    def forward(
        self, x: Stream, modulation: Float[Tensor, "batch draw 6 dim"], angles: Rotation
    ) -> Stream:
        """Add attention and feed-forward to the stream."""
        scale1, gate1, shift1, scale2, gate2, shift2 = modulation.unsqueeze(3).unbind(2)
        x = torch.addcmul(x, gate1, self._attend(modulate(x, scale1, shift1), angles))
        return torch.addcmul(x, gate2, self._feed_forward(modulate(x, scale2, shift2)))

    def _attend(self, x: Stream, angles: Rotation) -> Stream:
        """Let every token of a draw look at every other."""
        num_draws = x.shape[1]
        projected = torch.unflatten(apply_layer(self.qkv, x), -1, (3, self.num_heads, -1))
        query, key, value = projected.permute(3, 0, 1, 4, 2, 5).unbind(0)
        query = rotate(_normalise(self.q_norm, query), angles)
        key = rotate(_normalise(self.k_norm, key), angles)
        mixed = attend(query, key, value.flatten(0, 1))
        tokens = mixed.transpose(1, 2).flatten(2)
        return apply_layer(self.proj, torch.unflatten(tokens, 0, (-1, num_draws)))

    def _feed_forward(self, x: Stream) -> Stream:
        """SwiGLU (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""
        gate, value = apply_layer(self.w12, x).chunk(2, dim=-1)
        return apply_layer(self.w3, F.silu(gate) * value)


def modulate(
    x: Stream, scale: Float[Tensor, "batch draw 1 dim"], shift: Float[Tensor, "batch draw 1 dim"]
) -> Stream:
    """Normalise without parameters of its own, then scale and shift."""
    return torch.addcmul(shift, F.rms_norm(x, (x.shape[-1],), eps=EPS), 1 + scale)


def apply_layer(
    layer: nn.Module, x: Float[Tensor, "batch draw token input"]
) -> Float[Tensor, "batch draw token output"]:
    """Call a layer with the draws and tokens of a record as one axis."""
    result: Tensor = layer(x.flatten(1, 2))
    return torch.unflatten(result, 1, x.shape[1:3])


def _normalise(norm: nn.RMSNorm, heads: Float[Tensor, "batch draw head token channel"]) -> Heads:
    """Queries or keys to length sqrt(channel), in float32, with a record's heads on one axis."""
    normal: Tensor = norm(heads.float().flatten(1, 3))
    return torch.unflatten(normal.to(heads.dtype), 1, heads.shape[1:4]).flatten(0, 1)

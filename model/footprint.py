"""How much memory training takes: a formula over the architecture, held against what torch really keeps.

Only what grows with the network is counted. Torch itself, its buffers in the middle of an operation and
the fragments of the heap come on top: half a gigabyte and about a tenth.
"""

from model.conditioning import Schema
from model.config import ModelConfig

FULL, HALF = 4, 2
"""Bytes of a number in float32 and in bfloat16."""


def training_state_bytes(num_parameters: int) -> int:
    """Weights, gradients and AdamW's two moments, all in float32."""
    return 4 * FULL * num_parameters


def kept_bytes(
    config: ModelConfig, number_bytes: int, *, recompute: bool = False, fused: bool = True
) -> int:
    """What lies between the two passes of training on one image.

    Args:
        config: the architecture.
        number_bytes: of a number in the network's arithmetic, ``FULL`` or ``HALF``.
        recompute: whether only the stream in front of every block is kept; the inside of one block
            at a time comes on top while it is computed again.
        fused: whether attention is one operation, as everywhere but in bfloat16 on a processor.
    """
    modulation = FULL * 6 * config.dim * config.depth
    return modulation + sum(
        FULL * tokens * config.dim
        if recompute
        else block_bytes(config, tokens, number_bytes, fused=fused)
        for tokens in block_tokens(config)
    )


def block_tokens(config: ModelConfig) -> list[int]:
    """Tokens of one image in every block; the context joins on the way."""
    context = len(Schema().names) + config.num_registers
    return [
        config.num_image_tokens + (context if number >= config.context_start else 0)
        for number in range(config.depth)
    ]


def block_bytes(
    config: ModelConfig, num_tokens: int, number_bytes: int, *, fused: bool = True
) -> int:
    """What one block keeps of one image."""
    in_full = (
        4  # the stream and its normalised copy, in front of attention and of the feed-forward layer
        + 4  # queries and keys, before and after they are normalised
    )
    in_arithmetic = (
        2  # what the layers qkv and w12 see
        + 2  # queries and keys, turned
        + (3 if fused else 1)  # values: a part of what qkv gives, or a copy
        + 1  # what attention gives
        + 2  # what proj and w3 give, for their gates
    )
    wide = 4  # the two halves that w12 gives, the gate after its curve, and what w3 sees
    per_token = config.dim * (FULL * in_full + number_bytes * in_arithmetic)
    scores = 0 if fused else number_bytes * config.num_heads * num_tokens**2
    return num_tokens * (per_token + config.hidden_dim * number_bytes * wide) + scores

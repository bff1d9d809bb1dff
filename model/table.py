"""What every size costs, computed from the architecture: parameters, FLOPs, memory and bytes that travel.

Networks are built on torch's meta device, which knows shapes and holds no numbers, so the table of
a network of 1.3 billion parameters takes a second and no memory.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from model.adapter import adapter_shapes
from model.conditioning import Schema
from model.config import SIZES, AdapterConfig, ModelConfig, model_config
from model.footprint import FULL, HALF, block_bytes, kept_bytes, training_state_bytes
from model.transformer import RectifiedFlowTransformer

TABLE_ADAPTER = AdapterConfig(rank=16, alpha=16.0)
"""The adapter whose cost the table shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeRow:
    """One size at one resolution, with the default findings."""

    size: str
    """Name of the size."""

    image_size: int
    """Side of the radiograph, in pixels."""

    num_parameters: int
    """Trainable numbers of the whole network."""

    num_tokens: int
    """Tokens of a radiograph in the last block: patches, attributes, registers."""

    forward_flops: int
    """Multiplications and additions of the matrix products of one forward pass of one image."""

    training_flops: int
    """Of forward and backward, by the usual factor of three."""

    recomputed_flops: int
    """Of training that computes every block twice."""

    adapter_flops: int
    """Of training an adapter that way: nobody needs the gradients of the frozen weights."""

    state_bytes: int
    """Weights, gradients and AdamW's two moments in float32, and the weights once more in bfloat16."""

    activation_bytes: int
    """What training in bfloat16 keeps of one image between the two passes, with fused attention."""

    recomputed_activation_bytes: int
    """The same if every block is computed twice."""

    num_adapter_parameters: int
    """Trainable numbers of an adapter of rank 16."""

    adapter_state_bytes: int
    """The frozen weights in bfloat16, and the state of that adapter."""

    update_bytes: int
    """A change of the whole network in float32."""

    half_update_bytes: int
    """The same in bfloat16."""

    adapter_bytes: int
    """A change of the adapter in float32."""

    half_adapter_bytes: int
    """The same in bfloat16."""


def size_table(image_sizes: Sequence[int]) -> list[SizeRow]:
    """One row for every size at every side in pixels, small sizes first."""
    return [size_row(model_config(size, side)) for size in SIZES for side in image_sizes]


def size_row(config: ModelConfig) -> SizeRow:
    """What one architecture costs."""
    with torch.device("meta"):
        network = RectifiedFlowTransformer(config, Schema())
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    shapes = adapter_shapes(config, TABLE_ADAPTER).values()
    num_adapted = sum(math.prod(shape) for shape in shapes)
    forward = forward_flops(network)
    num_tokens = config.num_image_tokens + len(Schema().names) + config.num_registers
    return SizeRow(
        size=config.size,
        image_size=config.image_size,
        num_parameters=num_parameters,
        num_tokens=num_tokens,
        forward_flops=forward,
        training_flops=3 * forward,
        recomputed_flops=4 * forward,
        adapter_flops=3 * forward,
        state_bytes=training_state_bytes(num_parameters) + HALF * num_parameters,
        activation_bytes=kept_bytes(config, HALF),
        recomputed_activation_bytes=kept_bytes(config, HALF, recompute=True)
        + block_bytes(config, num_tokens, HALF),
        num_adapter_parameters=num_adapted,
        adapter_state_bytes=HALF * num_parameters + training_state_bytes(num_adapted),
        update_bytes=FULL * num_parameters,
        half_update_bytes=HALF * num_parameters,
        adapter_bytes=FULL * num_adapted,
        half_adapter_bytes=HALF * num_adapted,
    )


def forward_flops(network: RectifiedFlowTransformer) -> int:
    """Run one image through a network without numbers and count."""
    side = network.config.input_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        condition = torch.empty(1, 1, len(network.schema.names))
        noisy = torch.empty(1, 1, network.config.num_channels, side, side)
        network(noisy, torch.empty(1, 1), condition)
    flops: int = counter.get_total_flops()
    return flops


def render_table(rows: Sequence[SizeRow]) -> str:
    """The table as lines of text for a terminal, a head and one line per row."""
    cells = [tuple(COLUMNS), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in cells
    )


COLUMNS = (
    "size",
    "pixels",
    "parameters",
    "tokens",
    "TFLOP/image",
    "training",
    "recomputed",
    "GB+",
    "GB/image",
    "recomputed",
    "r16 GB+",
    "MB/change",
    "bf16",
    "r16 MB",
    "bf16",
)
"""GB+ is what training holds whatever the batch; recomputed is with every block computed twice."""


def _cells(row: SizeRow) -> tuple[str, ...]:
    """One row as text; FLOPs in units of 10^12, memory of 10^9 bytes, changes of 10^6 bytes."""
    flops = (row.forward_flops, row.training_flops, row.recomputed_flops)
    memory = (row.state_bytes, row.activation_bytes, row.recomputed_activation_bytes)
    travels = (
        row.update_bytes,
        row.half_update_bytes,
        row.adapter_bytes,
        row.half_adapter_bytes,
    )
    return (
        row.size,
        str(row.image_size),
        f"{row.num_parameters:,}",
        f"{row.num_tokens:,}",
        *(f"{count / 1e12:.3f}" for count in flops),
        *(f"{count / 1e9:.3f}" for count in (*memory, row.adapter_state_bytes)),
        *(f"{count / 1e6:,.1f}" for count in travels),
    )

"""What every size costs, computed from the architecture: parameters, tokens, FLOPs and bytes.

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
from model.transformer import RectifiedFlowTransformer

BYTES_PER_NUMBER = 4
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

    update_bytes: int
    """A change of the whole network in float32."""

    num_adapter_parameters: int
    """Trainable numbers of an adapter of rank 16."""

    adapter_bytes: int
    """A change of that adapter in float32."""


def size_table(image_sizes: Sequence[int]) -> list[SizeRow]:
    """One row for every size at every side in pixels, small sizes first."""
    return [_row(model_config(size, side)) for size in SIZES for side in image_sizes]


def render_table(rows: Sequence[SizeRow]) -> str:
    """The table as lines of text for a terminal, a head and one line per row."""
    head = (
        "size",
        "pixels",
        "parameters",
        "tokens",
        "TFLOP/image",
        "training",
        "change",
        "r16 change",
    )
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in cells
    )


def _cells(row: SizeRow) -> tuple[str, ...]:
    """One row as text; FLOPs in units of 10^12, bytes in units of 10^6."""
    return (
        row.size,
        str(row.image_size),
        f"{row.num_parameters:,}",
        f"{row.num_tokens:,}",
        f"{row.forward_flops / 1e12:.3f}",
        f"{row.training_flops / 1e12:.3f}",
        f"{row.update_bytes / 1e6:,.1f} MB",
        f"{row.adapter_bytes / 1e6:,.1f} MB",
    )


def _row(config: ModelConfig) -> SizeRow:
    """Compute one line of the table."""
    schema = Schema()
    with torch.device("meta"):
        network = RectifiedFlowTransformer(config, schema)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    shapes = adapter_shapes(config, TABLE_ADAPTER).values()
    num_adapter_parameters = sum(math.prod(shape) for shape in shapes)
    forward_flops = _forward_flops(network)
    return SizeRow(
        size=config.size,
        image_size=config.image_size,
        num_parameters=num_parameters,
        num_tokens=config.num_image_tokens + len(schema.names) + config.num_registers,
        forward_flops=forward_flops,
        training_flops=3 * forward_flops,
        update_bytes=BYTES_PER_NUMBER * num_parameters,
        num_adapter_parameters=num_adapter_parameters,
        adapter_bytes=BYTES_PER_NUMBER * num_adapter_parameters,
    )


def _forward_flops(network: RectifiedFlowTransformer) -> int:
    """Run one image through a network without numbers and count."""
    side = network.config.image_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        condition = torch.empty(1, 1, len(network.schema.names))
        network(torch.empty(1, 1, 1, side, side), torch.empty(1, 1), condition)
    flops: int = counter.get_total_flops()
    return flops

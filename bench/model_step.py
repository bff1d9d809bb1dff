"""How much of the processor's matrix rate a training step reaches; run with OMP_NUM_THREADS=1.

`python bench/model_step.py tiny 64 8` prints the share in float32 and under bfloat16 autocast, both of the
float32 rate measured in the same run.
"""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

from model.conditioning import Schema
from model.config import model_config
from model.flow import draw_noise, flow_loss
from model.table import size_table
from model.transformer import RectifiedFlowTransformer, initial_network

REPEATS = 10


def median_seconds(action: Callable[[], object], repeats: int) -> float:
    """Median duration, after one call to warm up."""
    action()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        durations.append(time.perf_counter() - start)
    return sorted(durations)[repeats // 2]


def training_step(
    network: RectifiedFlowTransformer, image_size: int, batch: int, *, half: bool
) -> Callable[[], None]:
    """Forward, backward and AdamW on random images."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(batch, 1, image_size, image_size, generator=generator) * 2 - 1
    condition = torch.ones(batch, len(network.schema.names))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        draws = draw_noise(tuple(image.shape), 1, image_size, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext():
            loss = flow_loss(network, image, condition, draws).mean()
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def matmul_rate() -> float:
    """Multiplications and additions a second of one large float32 matrix product."""
    side = 1024
    left, right = torch.rand(side, side), torch.rand(side, side)
    return 2 * side**3 / median_seconds(lambda: left @ right, REPEATS)


def main(size: str, image_size: int, batch: int) -> None:
    """Measure one size at one resolution and one batch."""
    network = initial_network(model_config(size, image_size), Schema(), 1)
    work = next(row for row in size_table([image_size]) if row.size == size).training_flops * batch
    rate = matmul_rate()
    for half in (False, True):
        step = training_step(network, image_size, batch, half=half)
        share = work / median_seconds(step, REPEATS) / rate
        kind = "bf16" if half else "fp32"
        print(
            f"{size} at {image_size} px, batch {batch}, {kind}: a training step runs at {share:.2f} of "
            "this processor's float32 matrix rate"
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

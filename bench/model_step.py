"""How long a training step and a batch of samples take; run with OMP_NUM_THREADS=1.

`python bench/model_step.py tiny 64 16` prints seconds per step in float32 and under bfloat16
autocast, and seconds for 32 radiographs of 20 Heun steps.
"""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

from model.conditioning import Schema
from model.config import model_config
from model.flow import draw_noise, flow_loss
from model.sampler import sample
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


def main(size: str, image_size: int, batch: int) -> None:
    """Measure one size at one resolution and one batch."""
    network = initial_network(model_config(size, image_size), Schema(), 1)
    for half in (False, True):
        step = training_step(network, image_size, batch, half=half)
        seconds = median_seconds(step, REPEATS)
        print(
            f"{size} {image_size} px batch {batch} {'bf16' if half else 'fp32'}: {seconds:.4f} s a step"
        )

    def draw() -> torch.Tensor:
        return sample(
            network,
            torch.ones(32, len(network.schema.names)),
            image_size=image_size,
            num_steps=20,
            guidance=1.0,
            method="heun",
            generator=torch.Generator().manual_seed(1),
        )

    print(
        f"{size} {image_size} px: {median_seconds(draw, 1):.2f} s for 32 samples of 20 Heun steps"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

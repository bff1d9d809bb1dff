"""The largest size for real: one training step of an adapter and sampling steps, in bfloat16 on a processor.

`python bench/xl_step.py 512` trains an adapter of rank 16 on one radiograph of 512 pixels and walks one
sampling step without and one with guidance; run with OMP_NUM_THREADS=1. No weights are needed: they are
drawn at random, one tensor at a time, as a hospital reads them from its disk.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from rates import processor_seconds, product
from torch import nn

from client.batches import whole_batch
from client.config import TrainingMachine
from client.heap import keep_freed_memory
from client.optimizer import make_optimizer
from client.preparation import prepare
from client.training import freeze_all_but, step
from federation.stages import LocalTraining
from model.adapter import adapter_parameters, attach
from model.checkpoint import network_shapes
from model.conditioning import Schema
from model.config import AdapterConfig, ModelConfig, model_config
from model.footprint import HALF, block_bytes, block_tokens, kept_bytes
from model.guidance import NO_GUIDANCE, Guidance
from model.sampler import Sampling, sample
from model.streaming import Named, frozen_network
from model.table import forward_flops, size_row
from model.transformer import RectifiedFlowTransformer

SIZE = "xl-1.3b"
ADAPTER = AdapterConfig(rank=16, alpha=16.0)
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1e-4, precision="bf16")
GUIDED = Guidance(scale=2.0, interval=(0.0, 1.0))


def random_tensors(config: ModelConfig) -> Iterator[Named]:
    """Weights of about the size that training gives them, so that every layer has its say."""
    generator = np.random.default_rng(1)
    for name, shape in network_shapes(config, Schema()).items():
        scale = np.float32(1.0 if name.endswith("norm.weight") else 0.5 / np.sqrt(shape[-1]))
        yield name, generator.standard_normal(shape, np.float32) * scale


def training_step(network: nn.Module, config: ModelConfig, batch: int) -> Callable[[], float]:
    """One step as a hospital makes it: AdamW on the adapter, everything else frozen."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(batch, 1, config.image_size, config.image_size, generator=generator) * 2 - 1
    records = whole_batch((image, torch.ones(batch, len(Schema().names))))
    parameters = freeze_all_but(network, frozenset(adapter_parameters(network)))
    optimizer = make_optimizer(parameters, LOCAL, {})
    return lambda: step(network, optimizer, records, LOCAL, generator)


def sampling_step(
    network: nn.Module, config: ModelConfig, batch: int, guidance: Guidance
) -> Callable[[], torch.Tensor]:
    """One Euler step, from noise to an image."""
    sampling = Sampling(num_steps=1, guidance=guidance, method="euler")
    noise = torch.randn(batch, 1, config.image_size, config.image_size)
    condition = torch.ones(batch, len(Schema().names))

    def walk() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return sample(network, condition, noise, sampling, image_size=config.image_size)

    return walk


def report(name: str, action: Callable[[], object], flops: float, config: ModelConfig) -> None:
    """Run once for real; the matrix rates are measured right after."""
    rows, columns = config.num_image_tokens, 2 * config.hidden_dim
    rates = dict.fromkeys((torch.float32, torch.bfloat16), 0.0)
    started = time.perf_counter()
    seconds = processor_seconds(action)
    elapsed = time.perf_counter() - started
    for dtype in rates:
        times = [processor_seconds(product(rows, config.dim, columns, dtype)) for _ in range(4)]
        rates[dtype] = 2 * rows * config.dim * columns / min(times[1:])
    full, half = (flops / seconds / rates[dtype] for dtype in rates)
    print(
        f"{name}: {elapsed:.1f} s, {seconds:.1f} s of processor time, {flops / 1e12:.2f} TFLOP, "
        f"{100 * half:.0f} % of this processor's bfloat16 matrix rate, {100 * full:.0f} % of its float32 "
        f"rate ({rates[torch.bfloat16] / 1e9:.0f} and {rates[torch.float32] / 1e9:.0f} GFLOP/s for "
        f"{rows} x {config.dim} times {config.dim} x {columns}); peak memory {peak_gigabytes():.2f} GB",
        flush=True,
    )


def computed_gigabytes(config: ModelConfig, batch: int, *, recompute: bool) -> float:
    """What `fedcxr model table` computes of, for attention that is not fused; torch itself comes on top."""
    tokens = max(block_tokens(config))
    kept = kept_bytes(config, HALF, recompute=recompute, fused=False)
    again = block_bytes(config, tokens, HALF, fused=False) if recompute else 0
    return (size_row(config).adapter_state_bytes + batch * (kept + again)) / 1e9


def peak_gigabytes() -> float:
    """The most memory that this process ever held, in 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(image_size: int, batch: int) -> None:
    """Train one step, then sample one step both ways."""
    keep_freed_memory()
    config = model_config(SIZE, image_size)
    with torch.device("meta"):
        forward = forward_flops(RectifiedFlowTransformer(config, Schema())) * batch
    started = time.perf_counter()
    network = frozen_network(config, Schema(), random_tensors(config), matrices=torch.bfloat16)
    print(
        f"{SIZE}, {image_size} px, batch {batch}, matrices in bfloat16: filled in "
        f"{time.perf_counter() - started:.0f} s, peak memory {peak_gigabytes():.2f} GB",
        flush=True,
    )
    for guidance, calls in ((NO_GUIDANCE, 1), (GUIDED, 2)):
        name = f"a sampling step with guidance {guidance.scale:g}"
        report(name, sampling_step(network, config, batch, guidance), calls * forward, config)
    adapted = attach(network, ADAPTER, torch.Generator())
    for recompute in (True, False):
        prepare(network, TrainingMachine(recompute=recompute))
        name = f"an r{ADAPTER.rank} step " + ("that recomputes" if recompute else "that keeps all")
        name += f" ({computed_gigabytes(config, batch, recompute=recompute):.2f} GB by the formula)"
        # The frozen layers need no gradient of their weights: forward and backward, and forward again.
        report(name, training_step(adapted, config, batch), (2 + recompute) * forward, config)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)

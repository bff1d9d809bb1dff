"""How much of this processor's matrix rate a hospital's training step reaches, and where its time goes.

`python bench/model_step.py small 256 8` trains on 8 random radiographs of 256 pixels, in float32 and in
bfloat16; a fourth word, `compile`, has torch compile the blocks first. Run with OMP_NUM_THREADS=1. Steps and
matrix products take turns, so that shares hold on a busy machine too.
"""

import sys
from collections.abc import Callable
from typing import Literal

import torch
from rates import interleaved, product
from torch.profiler import ProfilerActivity, profile

from client.batches import Batch, whole_batch
from client.config import TrainingMachine
from client.device import autocast
from client.heap import keep_freed_memory
from client.losses import draws_of, record_losses
from client.optimizer import make_optimizer
from client.preparation import prepare
from client.training import step
from federation.stages import LocalTraining
from model.conditioning import Schema
from model.config import ModelConfig, model_config
from model.initial import initial_network
from model.table import size_row
from model.transformer import RectifiedFlowTransformer

REPEATS = 9
PROFILED_STEPS = 3
Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
KINDS = {
    "aten::mm": "matrix products",
    "aten::addmm": "matrix products",
    "aten::bmm": "attention",
    "aten::_softmax": "attention",
    "aten::_softmax_backward_data": "attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": "attention",
    "aten::_fused_adamw_": "optimizer",
    "aten::linalg_vector_norm": "optimizer",
}
"""Where the time of an operation counts; all others pass over numbers one by one."""
FIXED = "Python and calls"
OTHER = "passes over numbers"


def batch_of(network: RectifiedFlowTransformer, side: int, num_records: int) -> Batch:
    """Random radiographs."""
    image = torch.rand(num_records, 1, side, side) * 2 - 1
    return whole_batch((image, torch.ones(num_records, len(network.schema.names))))


def training_step(
    network: RectifiedFlowTransformer, side: int, num_records: int, precision: Precision
) -> Callable[[], float]:
    """A step as a hospital makes it: noise, forward, backward, clipping, AdamW."""
    local = LocalTraining(
        local_steps=1, batch_size=num_records, learning_rate=1e-4, precision=precision
    )
    optimizer = make_optimizer(dict(network.named_parameters()), local, {})
    batch, generator = batch_of(network, side, num_records), torch.Generator().manual_seed(1)
    return lambda: step(network, optimizer, batch, local, generator)


def passes_only(network: RectifiedFlowTransformer, precision: Precision) -> Callable[[], None]:
    """Forward and backward of one record of one patch: as many calls, next to no numbers."""
    patch = batch_of(network, network.config.patch_size, 1)
    draws = draws_of(patch, 1, torch.Generator().manual_seed(1))

    def run() -> None:
        network.zero_grad(set_to_none=True)
        with autocast(precision, torch.device("cpu")):
            loss = record_losses(network, patch.image, patch.condition, draws).mean()
        torch.autograd.backward(loss)

    return run


def breakdown(action: Callable[[], object]) -> dict[str, float]:
    """Shares of the time that operations take, by kind."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(PROFILED_STEPS):
            action()
    shares = dict.fromkeys([*KINDS.values(), OTHER], 0.0)
    for event in record.key_averages():
        if event.key.startswith("aten::"):
            shares[KINDS.get(event.key, OTHER)] += event.self_cpu_time_total
    whole = sum(shares.values())
    return {kind: microseconds / whole for kind, microseconds in shares.items()}


def measure(network: RectifiedFlowTransformer, num_records: int, precision: Precision) -> float:
    """Print the rates of a step; the share of it that has nothing to do with numbers."""
    config = network.config
    action = training_step(network, config.image_size, num_records, precision)
    shape = widest_product(config, num_records)
    seconds = interleaved(
        {
            "step": action,
            FIXED: passes_only(network, precision),
            "fp32": product(*shape, torch.float32),
            "bf16": product(*shape, torch.bfloat16),
        },
        REPEATS,
    )
    rows, inner, columns = shape
    rates = {name: 2 * rows * inner * columns / seconds[name] for name in ("fp32", "bf16")}
    reached = size_row(config).training_flops * num_records / seconds["step"]
    print(
        f"{config.size} at {config.image_size} px, batch {num_records}, {precision}: "
        f"{1e3 * seconds['step']:.0f} ms, {reached / 1e9:.0f} GFLOP/s, "
        + " and ".join(f"{reached / rate:.2f} of the {name} rate" for name, rate in rates.items())
        + f" ({rows} x {inner} times {inner} x {columns}: "
        + ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
        + ")"
    )
    return seconds[FIXED] / seconds["step"]


def explain(
    network: RectifiedFlowTransformer, num_records: int, precision: Precision, fixed: float
) -> None:
    """Print where the time of a step goes."""
    action = training_step(network, network.config.image_size, num_records, precision)
    shares = {kind: (1 - fixed) * share for kind, share in breakdown(action).items()}
    print(
        "  " + ", ".join(f"{kind} {share:.0%}" for kind, share in (shares | {FIXED: fixed}).items())
    )


def widest_product(config: ModelConfig, num_records: int) -> tuple[int, int, int]:
    """Rows, inner and columns of the largest product of a step."""
    return num_records * config.num_image_tokens, config.dim, 2 * config.hidden_dim


def main(size: str, image_size: int, num_records: int, *words: str) -> None:
    """Measure one size at one resolution and one batch."""
    torch.set_num_threads(1)
    keep_freed_memory()
    for precision in PRECISIONS:
        network = initial_network(model_config(size, image_size), Schema(), 1)
        prepare(network, TrainingMachine(compile="compile" in words))
        fixed = measure(network, num_records, precision)
        if "compile" not in words:  # what is compiled is no operation of torch's any more
            explain(network, num_records, precision, fixed)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])

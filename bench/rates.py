"""How fast this processor multiplies matrices, measured in turns with what is compared with it.

Everything is timed in processor seconds of this process, so that other programs on the machine count as
little as possible; run with OMP_NUM_THREADS=1, so that these are seconds when nothing else runs.
"""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


def processor_seconds(action: Callable[[], object]) -> float:
    """How long a call kept the processor busy."""
    start = time.process_time()
    action()
    return time.process_time() - start


def median_seconds(action: Callable[[], object], repeats: int) -> float:
    """Median duration of a call, after one to warm up."""
    action()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        durations.append(time.perf_counter() - start)
    return median(durations)


def interleaved(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median processor seconds of each action; they take turns, after one round to warm up."""
    for action in actions.values():
        action()
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            seconds[name].append(processor_seconds(action))
    return {name: median(durations) for name, durations in seconds.items()}


def product(rows: int, inner: int, columns: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """A matrix product to measure, (rows, inner) times (inner, columns)."""
    left, right = torch.rand(rows, inner).to(dtype), torch.rand(inner, columns).to(dtype)
    return lambda: left @ right

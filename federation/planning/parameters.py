"""How many numbers train in a stage: every one of them gets noise."""

import math

from federation.config import StudyConfig
from federation.schedule import trained_tensors
from federation.stages import FullStage, LoraStage
from model.adapter import adapter_shapes
from model.checkpoint import network_shapes
from model.conditioning import Schema
from model.config import AdapterConfig

SMALL = AdapterConfig(rank=4, alpha=4.0, targets=("qkv", "proj"))
"""An adapter that noise leaves something of: attention only."""


def num_trained(study: StudyConfig, stage_index: int) -> int:
    """Parameters that a stage trains in one round; the larger number where rounds differ."""
    stage = study.stages[stage_index]
    shapes = _shapes(study, stage)
    first = study.first_round_of(stage_index)
    rounds = range(first, first + min(2, stage.num_rounds))
    return max(
        sum(math.prod(shapes[name]) for name in trained_tensors(study, number, frozenset(shapes)))
        for number in rounds
    )


def num_in_small_adapter(study: StudyConfig) -> int:
    """Parameters that an adapter made for privacy would train in a round, half of it at a time."""
    shapes = adapter_shapes(study.model_config, SMALL)
    return sum(math.prod(shape) for name, shape in shapes.items() if ".lora_B." in name)


def _shapes(study: StudyConfig, stage: FullStage | LoraStage) -> dict[str, tuple[int, ...]]:
    if isinstance(stage, LoraStage):
        return adapter_shapes(study.model_config, stage.adapter)
    return network_shapes(study.model_config, Schema(study.findings))

"""The weights that a stage starts from."""

import torch

from federation.config import LoraStage, StudyConfig
from federation.schedule import derive_seed
from model.adapter import initial_adapter
from model.arrays import Arrays
from model.checkpoint import network_arrays
from model.conditioning import Schema
from model.transformer import initial_network


def starting_weights(study: StudyConfig, stage_index: int, before: Arrays) -> Arrays:
    """Fresh weights for the first stage, a fresh adapter for a LoRA stage, otherwise those of the stage before.

    Args:
        study: Its seed fixes the random weights.
        stage_index: The stage to start.
        before: The model at the end of the stage before; empty for the first.
    """
    stage, schema = study.stages[stage_index], Schema(study.findings)
    if isinstance(stage, LoraStage):
        generator = torch.Generator().manual_seed(derive_seed(study, "adapter", stage_index))
        return initial_adapter(study.model_config, stage.adapter, generator)
    if before:
        return before
    return network_arrays(
        initial_network(study.model_config, schema, seed=derive_seed(study, "initial"))
    )

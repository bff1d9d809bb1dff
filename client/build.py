"""The network that a round trains, out of what was received."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.device import best_device, frozen_dtype
from federation.config import StudyConfig
from federation.schedule import site_adapter
from federation.stages import FullStage, LoraStage
from model.adapter import attach, load
from model.arrays import Arrays
from model.checkpoint import load_arrays_into
from model.conditioning import Schema
from model.low_rank import truncate_adapter
from model.streaming import frozen_network, stored_tensors
from model.transformer import RectifiedFlowTransformer


def own_weights(stage: FullStage | LoraStage, site_name: str, received: Arrays) -> Arrays:
    """What a hospital starts from: what it received, or the nearest adapter of the rank that it trains."""
    if isinstance(stage, FullStage):
        return received
    rank = site_adapter(stage, site_name).rank
    return received if rank == stage.rank else truncate_adapter(received, rank)


def build(
    study: StudyConfig,
    stage: FullStage | LoraStage,
    site_name: str,
    weights: Mapping[str, NDArray[np.float32]],
    base_path: Path | None,
) -> nn.Module:
    """The network with a hospital's own weights; in a LoRA stage, an adapter on the frozen base."""
    config, schema = study.model_config, Schema(study.findings)
    if isinstance(stage, FullStage) or base_path is None:
        network = RectifiedFlowTransformer(config, schema)
        load_arrays_into(network, weights)
        return network
    kept_as = frozen_dtype(stage.local.precision, best_device())
    frozen = frozen_network(config, schema, stored_tensors(base_path), matrices=kept_as)
    adapted = attach(frozen, site_adapter(stage, site_name), torch.Generator())
    load(adapted, weights)
    return adapted

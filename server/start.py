"""The weights that a stage starts from, and those that a study was given."""

from pathlib import Path

import torch

from federation.config import LoraStage, StudyConfig
from federation.schedule import derive_seed
from model.adapter import initial_adapter
from model.arrays import Arrays
from model.checkpoint import load_weights, network_arrays
from model.conditioning import Schema
from model.transformer import initial_network
from server.store import StudyStore


class WrongStart(ValueError):
    """A study and the model that it shall start from do not belong together."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}: give the folder of the model that model.start names with --start")


def take_start(store: StudyStore, folder: Path | None) -> None:
    """Keep the model that a study starts from, once it is known to be the one.

    Args:
        store: Of the study.
        folder: Of the model; None if it was given before, or if the study names none.

    Raises:
        WrongStart: it is missing, another one, or not asked for.
        WrongModelFile: the folder holds no model.
    """
    wanted = store.study.model.start
    if folder is None:
        if wanted is not None and not store.start_weights():
            raise WrongStart(f"study {store.study.name} starts from model {wanted[:12]}")
        return
    if wanted is None:
        raise WrongStart(
            f"study {store.study.name} starts from fresh weights (model.start is not set)"
        )
    weights, manifest = load_weights(folder)
    if manifest.weights_digest != wanted or manifest.model != store.study.model_config:
        raise WrongStart(f"{folder} is not the {store.study.model.size} model {wanted[:12]}")
    store.keep_start(weights)


def starting_weights(study: StudyConfig, stage_index: int, before: Arrays) -> Arrays:
    """A fresh adapter for a LoRA stage, otherwise the weights before it, and fresh ones where there are none.

    Args:
        study: Its seed fixes the random weights.
        stage_index: The stage to start.
        before: The model at the end of the stage before, or that the study starts from; empty if there is none.
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

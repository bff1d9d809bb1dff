"""The weights that a stage starts from, and those that a study was given; no process holds either.

Only drawing fresh ones needs torch, which is why it is not imported before.
"""

from pathlib import Path

from federation.config import StudyConfig
from federation.schedule import derive_seed
from federation.stages import FullStage
from model.conditioning import Schema
from model.config import AdapterConfig
from model.folder import open_weights
from model.tensors import Tensors
from server.room import file_bytes, within_room
from server.store import StudyStore

INITIAL_DIGEST = "initial_digest"
"""Fact about a study: digest of the weights that it began with."""


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
        if wanted is not None and store.start_weights() is None:
            raise WrongStart(f"study {store.study.name} starts from model {wanted[:12]}")
        return
    if wanted is None:
        raise WrongStart(
            f"study {store.study.name} starts from fresh weights (model.start is not set)"
        )
    weights, manifest = open_weights(folder)
    if manifest.weights_digest != wanted or manifest.model != store.study.model_config:
        raise WrongStart(f"{folder} is not the {store.study.model.size} model {wanted[:12]}")
    store.keep_start(weights)


def starting_weights(
    study: StudyConfig, stage_index: int, before: Tensors | None, path: Path
) -> Tensors:
    """A fresh adapter for a LoRA stage, otherwise the weights before it, and fresh ones where there are none.

    Args:
        study: Its seed fixes the random weights.
        stage_index: The stage to start.
        before: The model at the end of the stage before, or that the study starts from; None if there is none.
        path: Where to write what is drawn, tensor after tensor.

    Raises:
        NoRoom: what is drawn does not fit on the disk; nothing was left behind.
    """
    stage = study.stages[stage_index]
    if isinstance(stage, FullStage):
        return before if before is not None else _write_network(study, path)
    return _write_adapter(study, stage_index, stage.adapter, path)


def _write_network(study: StudyConfig, path: Path) -> Tensors:
    from model.checkpoint import network_shapes  # noqa: PLC0415  loads torch
    from model.initial import write_initial_network  # noqa: PLC0415

    model, schema = study.model_config, Schema(study.findings)
    with within_room(path.parent, file_bytes(network_shapes(model, schema))):
        return write_initial_network(path, model, schema, derive_seed(study, "initial"))


def _write_adapter(
    study: StudyConfig, stage_index: int, adapter: AdapterConfig, path: Path
) -> Tensors:
    from model.adapter import adapter_shapes  # noqa: PLC0415  loads torch
    from model.initial import write_initial_adapter  # noqa: PLC0415

    model, seed = study.model_config, derive_seed(study, "adapter", stage_index)
    with within_room(path.parent, file_bytes(adapter_shapes(model, adapter))):
        return write_initial_adapter(path, model, adapter, seed)

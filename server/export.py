"""The models that a study leaves behind, each with its lineage."""

import shutil
from pathlib import Path

from federation.config import study_digest
from federation.stages import FullStage, LoraStage
from model.folder import holds_model, save_weights
from model.manifest import Manifest, read_manifest, write_manifest
from model.peft_folder import save_adapter
from model.tensors import Tensors
from server.lineage import vouch_for
from server.room import file_bytes, within_room
from server.start import INITIAL_DIGEST
from server.state import GlobalState
from server.store import StudyStore


def export_models(store: StudyStore, state: GlobalState) -> None:
    """Write the global model, and the adapter if the study ends with one, into the study's folder.

    Folders that are whole already stay as they are; one that was begun is written again.

    Raises:
        DamagedRound: the model is not what was committed.
        NoRoom: it does not fit on the disk a second time.
    """
    study = store.study
    model, rounds = _whole_model(store)
    began = study.model.start or store.fact(INITIAL_DIGEST)
    digest = _write(store, model_path(store), model, rounds=rounds, parent=began)
    last = study.stages[-1]
    if isinstance(last, LoraStage):
        folder, rounds = adapter_path(store), study.num_rounds
        _write(store, folder, state.weights, rounds=rounds, parent=digest, stage=last)


def model_path(store: StudyStore) -> Path:
    """Folder of the finished global model."""
    return store.folder / "model"


def adapter_path(store: StudyStore) -> Path:
    """Folder of the finished adapter, in this project's and in PEFT's format."""
    return store.folder / "adapter"


def _write(
    store: StudyStore,
    folder: Path,
    weights: Tensors,
    *,
    rounds: int,
    parent: str,
    stage: LoraStage | None = None,
) -> str:
    """Write a model's folder, if it is not whole already, and sign for it; gives the digest of its weights."""
    if holds_model(folder):
        vouch_for(store, folder)
        return read_manifest(folder).weights_digest
    shutil.rmtree(folder, ignore_errors=True)
    with within_room(store.folder, (2 if stage else 1) * file_bytes(weights.shapes)):
        digest = save_weights(folder, weights, study_name=store.study.name)
        if stage is not None:
            save_adapter(folder, weights, stage.adapter)
        manifest = _manifest(store, digest, rounds=rounds, parent=parent, stage=stage)
        write_manifest(folder, manifest)
        vouch_for(store, folder)
    return digest


def _manifest(
    store: StudyStore, digest: str, *, rounds: int, parent: str, stage: LoraStage | None
) -> Manifest:
    sites = {
        part.site for part in store.parts() if part.state == "admitted" and part.number <= rounds
    }
    return Manifest(
        model=store.study.model_config,
        findings=store.study.findings,
        kind="adapter" if stage else "full",
        adapter=stage.adapter if stage else None,
        study_name=store.study.name,
        study_digest=study_digest(store.study),
        rounds=rounds,
        sites=tuple(sorted(sites)),
        parent_digest=parent,
        weights_digest=digest,
        codec_digest=store.study.model.codec_digest,
        site_numbers={name: n for name, n in store.site_numbers().items() if name in sites},
    )


def _whole_model(store: StudyStore) -> tuple[Tensors, int]:
    """The model after the last full stage, or that a study of adapters began with, and the rounds behind it."""
    study = store.study
    full = [index for index, stage in enumerate(study.stages) if isinstance(stage, FullStage)]
    if full:
        return store.stage_end(full[-1]).model, study.first_round_of(full[-1] + 1) - 1
    start = store.start_weights()
    if start is None:
        raise TypeError("a study of adapters has no model to add them to")
    return start, 0

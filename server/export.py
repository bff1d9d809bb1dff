"""The models that a study leaves behind, each with its lineage."""

from pathlib import Path

from federation.config import FullStage, LoraStage, StudyConfig, study_digest
from model.adapter import save_adapter
from model.arrays import Arrays, digest_arrays
from model.checkpoint import save_model
from model.manifest import Manifest
from server.start import starting_weights
from server.state import GlobalState
from server.store import StudyStore


def export_models(store: StudyStore, state: GlobalState) -> None:
    """Write the global model, and the adapter if the study ends with one, into the study's folder.

    Files that are there already are complete: each model folder appears with its manifest, written last.
    """
    study = store.study
    model, rounds = _whole_model(store)
    _write(model_path(store), model, _manifest(store, model, rounds, parent=_initial_digest(study)))
    last = study.stages[-1]
    if isinstance(last, LoraStage):
        parent = digest_arrays(model)
        manifest = _manifest(store, state.weights, study.num_rounds, parent=parent, stage=last)
        _write(adapter_path(store), state.weights, manifest)
        save_adapter(adapter_path(store), state.weights, last.adapter)


def model_path(store: StudyStore) -> Path:
    """Folder of the finished global model."""
    return store.folder / "model"


def adapter_path(store: StudyStore) -> Path:
    """Folder of the finished adapter, in this project's and in PEFT's format."""
    return store.folder / "adapter"


def _write(folder: Path, weights: Arrays, manifest: Manifest) -> None:
    if not (folder / "manifest.json").exists():
        save_model(folder, weights, manifest)


def _manifest(
    store: StudyStore,
    weights: Arrays,
    rounds: int,
    *,
    parent: str,
    stage: LoraStage | None = None,
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
        weights_digest=digest_arrays(weights),
        codec_digest=store.study.model.codec_digest,
        site_numbers={name: n for name, n in store.site_numbers().items() if name in sites},
    )


def _whole_model(store: StudyStore) -> tuple[Arrays, int]:
    """The model after the last full stage, or that a study of adapters began with, and the rounds behind it."""
    study = store.study
    full = [index for index, stage in enumerate(study.stages) if isinstance(stage, FullStage)]
    if not full:
        return store.start_weights(), 0
    end = store.stage_end(full[-1])
    return end.average or end.weights, study.first_round_of(full[-1] + 1) - 1


def _initial_digest(study: StudyConfig) -> str:
    """Digest of the weights that the study began with, given or seeded."""
    return study.model.start or digest_arrays(starting_weights(study, 0, {}))

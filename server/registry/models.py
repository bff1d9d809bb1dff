"""Every model that this coordinator's studies left behind, as their folders say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.folder import holds_model
from model.manifest import Manifest, read_manifest
from server.export import adapter_path, model_path
from server.store import StudyStore
from server.survey import DamagedStudy, damaged_studies, survey

SHOWN_DIGITS = 12
"""Of a digest that names a model; fewer will do when typed, if they are unmistakable."""
MIN_DIGITS = 6


class UnknownModel(ValueError):
    """No model, or more than one, is meant."""

    def __init__(self, name: str, known: list[str], damaged: Sequence[DamagedStudy] = ()) -> None:
        sentence = (
            f"{name!r} does not name one model of this coordinator: give the beginning of its digest, one of "
            f"{', '.join(known) or 'none, since no study is finished yet'}"
        )
        super().__init__("\n".join([sentence, *map(str, damaged)]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A model and the study that made it."""

    store: StudyStore
    folder: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """Of its weights: what it is called by."""
        return self.manifest.weights_digest

    @property
    def name(self) -> str:
        """The beginning of its digest."""
        return self.digest[:SHOWN_DIGITS]


def registered_models(state_path: Path) -> list[Registered]:
    """Models and adapters of all studies that can be read, in order of study; whether they are sound is not looked at."""
    stores, _ = survey(state_path, lambda store: store)
    return [
        Registered(store=store, folder=folder, manifest=read_manifest(folder))
        for store in stores
        for folder in (model_path(store), adapter_path(store))
        if holds_model(folder)
    ]


def model_named(state_path: Path, name: str) -> Registered:
    """The model that a person means, by the beginning of its digest.

    Raises:
        UnknownModel: if there is none, or more than one.
    """
    models = registered_models(state_path)
    found = [each for each in models if each.digest.startswith(name)]
    if len(name) < MIN_DIGITS or len({each.digest for each in found}) != 1:
        raise UnknownModel(name, [each.name for each in models], damaged_studies(state_path))
    return found[0]

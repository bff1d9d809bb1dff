"""A simulation: a study, the hospitals that take part, and the radiographs it is judged on."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Discriminator, Tag

from federation.config import StudyConfig
from federation.field_types import SiteName
from federation.privacy_terms import AboveZero
from federation.strict_yaml import STRICT, load_config
from simulation.phantom_sites import PhantomSite


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSite:
    """A hospital that exists as a folder, such as a part of a public set."""

    name: SiteName
    data_path: Path
    """Folder with DICOM files; it is only read."""
    labels_path: Path
    """CSV with the findings, in this program's own columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSet:
    """Radiographs that exist as a folder, of patients that no hospital has."""

    data_path: Path
    """Folder with DICOM files; it is only read."""
    labels_path: Path
    """CSV with the findings, in this program's own columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutSet:
    """Radiographs of patients that no hospital has, in equal shares of sites' machines, sexes, views, findings."""

    num_records: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_records < 1:
            raise ValueError(f"num_records is {self.num_records}, it must be at least 1")


def _kind(content: object) -> str:
    """What says where its radiographs are is a folder; everything else is a phantom."""
    is_folder = isinstance(content, FolderSite | FolderSet) or (
        isinstance(content, dict) and "data_path" in content
    )
    return "folder" if is_folder else "phantom"


Site = Annotated[
    Annotated[PhantomSite, Tag("phantom")] | Annotated[FolderSite, Tag("folder")],
    Discriminator(_kind),
]
HeldOut = Annotated[
    Annotated[HeldOutSet, Tag("phantom")] | Annotated[FolderSet, Tag("folder")],
    Discriminator(_kind),
]
Folder = TypeVar("Folder", FolderSite, FolderSet)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What every simulated hospital lets its patients' radiographs spend."""

    max_epsilon: AboveZero
    """Cap of the hospital's ledger."""
    delta: AboveZero
    """Of (epsilon, delta); below 1 / patients of the smallest hospital."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """Everything that one machine needs to play a whole federation."""

    __pydantic_config__: ClassVar = STRICT  # holds for the sites and the held-out set too

    study: StudyConfig
    sites: tuple[Site, ...]
    """The hospitals: phantoms, which get a folder of radiographs, and such that have one."""
    held_out: HeldOut
    """What all models are judged on."""
    phantom_size: int = 128
    """Side of the written radiographs, in pixels."""
    codec_path: Path | None = None
    """Folder of the study's autoencoder, which all hospitals share; None for a study of pixels."""
    start_path: Path | None = None
    """Folder of the model that the study starts from; None for a study of fresh weights."""
    compare: bool = True
    """Whether each hospital alone, and all data pooled, are trained too, without privacy, to compare with."""
    budget: Budget | None = None
    """Of a study with privacy: every hospital gets a policy with it that allows what the study asks for."""

    def __post_init__(self) -> None:
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            raise ValueError("two sites have the same name")
        if self.study.rounds.num_sites != len(names):
            raise ValueError(
                f"the study expects {self.study.rounds.num_sites} sites, {len(names)} are given"
            )
        if (self.codec_path is None) != (self.study.model.codec_digest is None):
            raise ValueError("codec_path and an autoencoder in the study's model go together")
        if (self.start_path is None) != (self.study.model.start is None):
            raise ValueError("start_path and model.start of the study go together")
        if self.compare and self.study.stages[0].kind != "full":
            raise ValueError(
                "a study without a full stage has nothing to compare: set compare to false"
            )
        if any(stage.local.privacy for stage in self.study.stages) and self.budget is None:
            raise ValueError("a study with privacy needs a budget: max_epsilon and delta")
        if isinstance(self.held_out, HeldOutSet) and not self.phantoms:
            raise ValueError(
                "a held-out set of phantoms needs a hospital of phantoms, whose machines it takes"
            )

    @property
    def phantoms(self) -> tuple[PhantomSite, ...]:
        """The hospitals that are made up."""
        return tuple(site for site in self.sites if isinstance(site, PhantomSite))

    @property
    def judged_on(self) -> str:
        """The held-out radiographs, in words."""
        balanced = "balanced " if isinstance(self.held_out, HeldOutSet) else ""
        return f"{balanced}held-out radiographs"


def load_simulation(path: Path) -> SimulationConfig:
    """Read and check a simulation; relative paths are relative to the file.

    Raises:
        ConfigError: naming the file, every offending key, and what it should be.
    """
    plan, folder = load_config(path, SimulationConfig), path.resolve().parent
    sites = [_beside(folder, site) if isinstance(site, FolderSite) else site for site in plan.sites]
    if isinstance(plan.held_out, FolderSet):
        plan = replace(plan, held_out=_beside(folder, plan.held_out))
    if plan.codec_path is not None:
        plan = replace(plan, codec_path=folder / plan.codec_path)
    if plan.start_path is not None:
        plan = replace(plan, start_path=folder / plan.start_path)
    return replace(plan, sites=tuple(sites))


def _beside(folder: Path, place: Folder) -> Folder:
    return replace(
        place, data_path=folder / place.data_path, labels_path=folder / place.labels_path
    )


def simulation_digest(plan: SimulationConfig) -> str:
    """SHA-256 over everything that decides what a simulation does."""
    return hashlib.sha256(
        json.dumps(asdict(plan), sort_keys=True, default=str).encode()
    ).hexdigest()

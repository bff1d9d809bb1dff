"""A simulation: a study, the hospitals that take part, and the radiographs it is judged on."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from federation.config import StudyConfig
from federation.strict_yaml import STRICT, load_config
from simulation.phantom_sites import PhantomSite


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutSet:
    """Radiographs of patients that no hospital has, in equal shares of sites' machines, sexes, views, findings."""

    num_records: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_records < 1:
            raise ValueError(f"num_records is {self.num_records}, it must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """Everything that one machine needs to play a whole federation."""

    __pydantic_config__: ClassVar = STRICT  # holds for the sites and the held-out set too

    study: StudyConfig
    sites: tuple[PhantomSite, ...]
    """The hospitals; each gets a folder of phantom radiographs."""
    held_out: HeldOutSet
    phantom_size: int = 128
    """Side of the written radiographs, in pixels."""

    def __post_init__(self) -> None:
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            raise ValueError("two sites have the same name")
        if self.study.rounds.num_sites != len(names):
            raise ValueError(
                f"the study expects {self.study.rounds.num_sites} sites, {len(names)} are given"
            )


def load_simulation(path: Path) -> SimulationConfig:
    """Read and check a simulation.

    Raises:
        ConfigError: naming the file, every offending key, and what it should be.
    """
    return load_config(path, SimulationConfig)


def simulation_digest(plan: SimulationConfig) -> str:
    """SHA-256 over everything that decides what a simulation does."""
    return hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode()).hexdigest()

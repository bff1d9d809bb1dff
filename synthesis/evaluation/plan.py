"""What is to be measured of a model, and how closely."""

from dataclasses import dataclass
from typing import Literal

from model.evaluation.encoders.choice import BUILTIN
from model.evaluation.probe import NUM_STEPS
from model.generate import USUAL_SAMPLING
from model.sampler import Sampling

Protocol = Literal["own", "chexgenbench"]
"""``own`` looks at whole pictures; ``chexgenbench`` takes the steps of that published comparison."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Choices of one evaluation; with the model and the radiographs they decide every number."""

    num_samples: int = 300
    """Radiographs drawn for the conditions of held-out ones, and as many for those of training ones."""

    seed: int = 0
    """Of noise, choices, trainings and resamples."""

    sampling: Sampling = USUAL_SAMPLING

    min_cell: int = 20
    """Records that a subgroup needs to be reported."""

    encoders: tuple[str, ...] = (BUILTIN,)
    """``builtin``, ``rad-dino:PATH``, ``xrv:PATH`` or ``torchscript:PATH``."""

    protocol: Protocol = "own"

    with_steps_curve: bool = False
    """Whether quality is measured against the number of sampling steps."""

    with_real_pictures: bool = True
    """Whether the page shows real radiographs."""

    num_probe_steps: int = NUM_STEPS
    """Training steps of the probe."""

    num_classifier_steps: int = 300
    """Training steps of each classifier that learns from samples or from as many radiographs."""

    num_resamples: int = 200
    """Of each bootstrap interval."""

    def __post_init__(self) -> None:
        if self.num_samples < MIN_RECORDS:
            raise ValueError(
                f"num_samples is {self.num_samples}, it must be at least {MIN_RECORDS}"
            )
        if self.min_cell < 2:
            raise ValueError(f"min_cell is {self.min_cell}, it must be at least 2")


MIN_RECORDS = 20
"""Held-out radiographs below which nothing can be said."""

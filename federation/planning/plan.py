"""A study's cost in privacy, and its noise, for hospitals of a supposed size; computed from its public constants."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from federation.config import StudyConfig
from federation.planning.parameters import num_in_small_adapter, num_trained
from federation.planning.spending import charged_phase, phases_of, with_noise
from federation.stages import LocalTraining
from privacy.accounting.epsilon import Epsilon, check_delta, epsilon
from privacy.accounting.noise import NoNoiseSuffices, least_noise, noise_to_signal


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What a plan supposes of the hospitals.

    Raises:
        ValueError: there is no patient or no hospital, or delta is out of its range.
        DeltaTooLarge: delta is 1 / num_patients or above.
    """

    num_patients: int
    """Of each hospital, with usable radiographs."""
    num_sites: int
    """Hospitals of which a round's mean is taken."""
    delta: float
    spent: float = 0.0
    """Epsilon that a hospital's data have spent before, as its ledger says."""

    def __post_init__(self) -> None:
        check_delta(self.delta, self.num_patients)
        if self.num_sites < 1:
            raise ValueError(f"num_sites {self.num_sites} must be at least 1")
        if not (math.isfinite(self.spent) and self.spent >= 0):
            raise ValueError(f"spent {self.spent} must be finite and not below 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateSteps:
    """What the private training of one stage means."""

    noise_multiplier: float
    charged_noise_multiplier: float
    """What the steps are charged with: smaller if a loss leaves."""
    sample_rate: float
    expected_patients: float
    """Drawn per step, on average."""
    divisor: int
    """The public number by which a step's sum is divided."""
    epsilon: float
    """Of the stage alone."""
    noise_to_signal: float
    """Length of a step's noise over the longest possible sum of its clipped gradients, at one hospital."""
    mean_noise_to_signal: float
    """The same in the mean of all hospitals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """One stage."""

    number: int
    """From 1, as people count."""
    kind: str
    num_parameters: int
    """That train in a round."""
    num_steps: int
    """Of all its rounds."""
    private: PrivateSteps | None
    """None: the stage promises nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a wanted epsilon would take, in all private stages alike."""

    epsilon: float
    """At the end of the study, with what was spent before."""
    noise_multiplier: float
    """Infinite if no noise brings it about."""
    noise_to_signal: float
    """Of the noisiest stage."""
    mean_noise_to_signal: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything there is to know before the first radiograph is touched."""

    study: str
    circumstances: Circumstances
    stages: tuple[StagePlan, ...]
    spending: Epsilon
    """Of the study's private stages together, at each hospital."""
    targets: tuple[Target, ...]
    num_in_small_adapter: int
    """Parameters that an adapter made for privacy would train, for comparison."""

    @property
    def total_epsilon(self) -> float:
        """With what was spent before: their sum, an upper bound of what the ledger will say."""
        return self.spending.value + self.circumstances.spent

    @property
    def private_steps(self) -> tuple[PrivateSteps, ...]:
        """Of the stages that have privacy."""
        return tuple(stage.private for stage in self.stages if stage.private)

    @property
    def is_private(self) -> bool:
        """Whether the study promises anything: one stage without privacy undoes the promise of the others."""
        return len(self.private_steps) == len(self.stages)


def make_plan(
    study: StudyConfig, circumstances: Circumstances, wanted: Sequence[float] = ()
) -> Plan:
    """What a study will spend at each hospital, and what each wanted epsilon would take instead."""
    phases = phases_of(study)
    return Plan(
        study=study.name,
        circumstances=circumstances,
        stages=_stages(study, circumstances),
        spending=epsilon(phases, circumstances.delta),
        targets=tuple(_target(study, circumstances, each) for each in wanted) if phases else (),
        num_in_small_adapter=num_in_small_adapter(study),
    )


def _stages(study: StudyConfig, circumstances: Circumstances) -> tuple[StagePlan, ...]:
    return tuple(_stage(study, at, circumstances) for at in range(len(study.stages)))


def _stage(study: StudyConfig, index: int, circumstances: Circumstances) -> StagePlan:
    stage, num_parameters = study.stages[index], num_trained(study, index)
    num_steps = stage.num_rounds * stage.local.local_steps
    return StagePlan(
        number=index + 1,
        kind=stage.kind,
        num_parameters=num_parameters,
        num_steps=num_steps,
        private=_private_steps(stage.local, num_steps, num_parameters, circumstances),
    )


def _private_steps(
    local: LocalTraining, num_steps: int, num_parameters: int, circumstances: Circumstances
) -> PrivateSteps | None:
    if (terms := local.privacy) is None:
        return None
    phase = charged_phase(terms, num_steps)
    expected = terms.sample_rate * circumstances.num_patients
    alone = noise_to_signal(
        terms.noise_multiplier, num_parameters=num_parameters, patients_per_step=expected
    )
    return PrivateSteps(
        noise_multiplier=terms.noise_multiplier,
        charged_noise_multiplier=phase.noise_multiplier,
        sample_rate=terms.sample_rate,
        expected_patients=expected,
        divisor=local.batch_size,
        epsilon=epsilon([phase], circumstances.delta).value,
        noise_to_signal=alone,
        mean_noise_to_signal=alone / math.sqrt(circumstances.num_sites),
    )


def _target(study: StudyConfig, circumstances: Circumstances, wanted: float) -> Target:
    """The study again, with the noise that the wanted epsilon takes."""
    noise = _noise_for(study, circumstances, wanted)
    if math.isinf(noise):
        return Target(
            epsilon=wanted,
            noise_multiplier=noise,
            noise_to_signal=noise,
            mean_noise_to_signal=noise,
        )
    stages = _stages(with_noise(study, noise), circumstances)
    worst = max(stage.private.noise_to_signal for stage in stages if stage.private)
    return Target(
        epsilon=wanted,
        noise_multiplier=noise,
        noise_to_signal=worst,
        mean_noise_to_signal=worst / math.sqrt(circumstances.num_sites),
    )


def _noise_for(study: StudyConfig, circumstances: Circumstances, wanted: float) -> float:
    left = wanted - circumstances.spent
    if left <= 0:
        return math.inf
    try:
        return least_noise(
            left, circumstances.delta, lambda noise: phases_of(with_noise(study, noise))
        )
    except NoNoiseSuffices:
        return math.inf

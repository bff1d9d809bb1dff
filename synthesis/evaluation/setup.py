"""What was measured with what: enough to do it again, and to know what the numbers are about."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from model.evaluation.probe import Probe
from model.generate import Generator
from model.sampler import Sampling
from synthesis.evaluation.hospitals import Hospitals
from synthesis.evaluation.material import Chosen
from synthesis.evaluation.plan import Plan, Protocol

PROGRAM = "fedcxr"


@dataclass(frozen=True, kw_only=True, slots=True)
class HospitalFacts:
    """How many radiographs there were."""

    name: str
    num_training: int
    num_held_out: int
    num_held_out_patients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """The circumstances of an evaluation."""

    program_version: str
    model_digest: str
    adapter_digest: str | None
    codec_digest: str | None
    study: str
    rounds: int
    model_size: str
    image_size: int
    hospitals: tuple[HospitalFacts, ...]
    protocol: Protocol
    encoders: tuple[str, ...]
    """As they were asked for."""

    seed: int
    sampling: Sampling
    num_held_out: int
    """Held-out radiographs that samples are compared with, and as many samples for their conditions."""

    num_training: int
    """Training radiographs whose conditions samples were drawn for, to train classifiers."""

    num_repeated_conditions: int
    num_probe_records: int
    num_probe_steps: int
    unanswered: Mapping[str, str]
    """Attribute that the probe could not learn -> why."""

    @property
    def num_hospitals(self) -> int:
        """Hospitals whose radiographs were used."""
        return len(self.hospitals)


def setup(
    generator: Generator, hospitals: Hospitals, chosen: Chosen, plan: Plan, probe: Probe
) -> Setup:
    """Note the circumstances."""
    manifest = generator.manifest
    return Setup(
        program_version=version(PROGRAM),
        model_digest=manifest.weights_digest,
        adapter_digest=generator.adapter_digest,
        codec_digest=generator.codec.digest,
        study=manifest.study_name,
        rounds=manifest.rounds,
        model_size=manifest.model.size,
        image_size=generator.image_size,
        hospitals=tuple(_facts(hospitals, place) for place in range(len(hospitals.names))),
        protocol=plan.protocol,
        encoders=tuple(word.partition(":")[0] for word in plan.encoders),
        seed=plan.seed,
        sampling=plan.sampling,
        num_held_out=len(chosen.held_out),
        num_training=len(chosen.training),
        num_repeated_conditions=chosen.num_repeated_conditions,
        num_probe_records=len(chosen.for_probe),
        num_probe_steps=plan.num_probe_steps,
        unanswered=dict(probe.unanswered),
    )


def _facts(hospitals: Hospitals, place: int) -> HospitalFacts:
    training, held_out = hospitals.training, hospitals.held_out
    here = held_out.hospitals == place
    return HospitalFacts(
        name=hospitals.names[place],
        num_training=int((training.hospitals == place).sum()),
        num_held_out=int(here.sum()),
        num_held_out_patients=len(np.unique(held_out.patients[here])),
    )

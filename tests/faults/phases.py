"""The moments of a round at which somebody is killed, and what a seed makes of each: which round, how far into it, whom.

The same phase and seed are the same kill, of the same study.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from federation.config import ModelChoice, RoundRules, StudyConfig, Transport
from federation.privacy_terms import PrivacyTerms
from federation.stages import FullStage, LocalTraining, OuterStep
from tests.faults.killing.strikes import Kill
from tests.faults.kills import COORDINATOR, IMAGE_SIZE, NAMES

NUM_ROUNDS = 3
SHARD_VALUES = 60_000
NUM_SHARDS = 14
"""Of the tiny model in shards of so many values."""
SENT_FOR = ("shards", "steps", "private")
"""Kinds of studies whose tensors travel beside messages, changes when they are sent for."""
BESIDE = (*SENT_FOR, "at-once")
"""The same, and one whose changes are left before the answers."""
KINDS = (*BESIDE, "inline")
INLINE_BYTES = {"inline": 2**25, "at-once": 2**19}
"""What a message may hold; the tiny model has 3.3 MB."""
IN_BATCHES = ("--max-scratch", "0.002")
"""Room for four shards of each hospital at a time."""
TERMS = PrivacyTerms(noise_multiplier=2.0, sample_rate=0.5, max_grad_norm=0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A moment of a round."""

    victim: str
    """``coordinator`` or ``hospital``."""
    points: Sequence[str]
    """Points that are this moment; a seed chooses one."""
    per_round: int = 1
    """How often each is reached in a round, by all who count."""
    first_round: int = 1
    halves: bool = False
    """Whether it is about the middle of a round's many."""
    by_itself: bool = True
    """Whether the victim is the one who reaches the point."""
    kinds: Sequence[str] = KINDS
    arguments: Sequence[str] = ()
    """More words for ``fedcxr coordinator up``."""


PHASES = {
    "coordinator idle": Phase(victim=COORDINATOR, points=["between-rounds"], first_round=2),
    "coordinator asking": Phase(victim=COORDINATOR, points=["asked"], per_round=2),
    "coordinator broadcasting": Phase(
        victim=COORDINATOR, points=["served"], per_round=2 * NUM_SHARDS, halves=True, kinds=BESIDE
    ),
    "coordinator waiting": Phase(
        victim=COORDINATOR, points=["training"], per_round=2, by_itself=False
    ),
    "coordinator receiving": Phase(
        victim=COORDINATOR,
        points=["received", "received-whole"],
        per_round=2 * NUM_SHARDS,
        halves=True,
        kinds=BESIDE,
    ),
    "coordinator aggregating": Phase(
        victim=COORDINATOR, points=["aggregated"], per_round=NUM_SHARDS, halves=True
    ),
    "coordinator before the rename": Phase(
        victim=COORDINATOR, points=["commit-begins", "round-written"]
    ),
    "coordinator after the rename": Phase(
        victim=COORDINATOR, points=["round-renamed", "row-written", "round-forgotten"]
    ),
    "coordinator writing files": Phase(
        victim=COORDINATOR, points=["half-written", "drafted"], per_round=2, kinds=BESIDE
    ),
    "hospital idle": Phase(
        victim="hospital", points=["between-rounds"], first_round=2, by_itself=False
    ),
    "hospital fetching": Phase(
        victim="hospital", points=["fetching"], per_round=NUM_SHARDS, halves=True, kinds=BESIDE
    ),
    "hospital training": Phase(victim="hospital", points=["training"]),
    "hospital finished": Phase(victim="hospital", points=["finished", "answering"]),
    "hospital delivering": Phase(
        victim="hospital", points=["delivering"], per_round=NUM_SHARDS, halves=True, kinds=BESIDE
    ),
    "hospital delivered": Phase(victim="hospital", points=["delivered"], kinds=SENT_FOR),
    "hospital writing files": Phase(victim="hospital", points=["half-written"], per_round=3),
    "coordinator receiving batches": Phase(
        victim=COORDINATOR,
        points=["received", "received-whole"],
        per_round=2 * NUM_SHARDS,
        halves=True,
        kinds=SENT_FOR,
        arguments=IN_BATCHES,
    ),
    "hospital delivering batches": Phase(
        victim="hospital",
        points=["delivering"],
        per_round=NUM_SHARDS,
        halves=True,
        kinds=SENT_FOR,
        arguments=IN_BATCHES,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What a phase and a seed make."""

    study: StudyConfig
    kind: str
    kill: Kill


def case_of(name: str, seed: int, side: Callable[[str], str]) -> Case:
    """The kill of a phase and a seed, in a study of its own.

    Args:
        name: Of the phase.
        seed: Decides everything else.
        side: How the federation's sides are known.
    """
    phase, rng = PHASES[name], random.Random(f"{name}|{seed}")  # noqa: S311  a plan, no secret
    kind = phase.kinds[seed % len(phase.kinds)]
    number = rng.randint(phase.first_round, NUM_ROUNDS)
    hospital = rng.choice(NAMES)
    victim = side(hospital if phase.victim == "hospital" else COORDINATOR)
    quarter = phase.per_round // 4 if phase.halves else 0
    within = rng.randint(1 + quarter, phase.per_round - quarter)
    kill = Kill(
        point=rng.choice(phase.points),
        nth=(number - 1) * phase.per_round + within,
        victim=victim,
        by=victim if phase.by_itself else "",
    )
    return Case(study=study_of(f"{name.replace(' ', '-')}-{seed}", kind), kind=kind, kill=kill)


def study_of(name: str, kind: str, *, num_rounds: int = NUM_ROUNDS) -> StudyConfig:
    """A study of a few rounds of the smallest model, which needs every hospital in every round."""
    local = LocalTraining(
        local_steps=2,
        batch_size=4,
        learning_rate=1e-3,
        privacy=TERMS if kind == "private" else None,
    )
    stage = FullStage(
        kind="full",
        num_rounds=num_rounds,
        local=local,
        outer=OuterStep(learning_rate=0.7, momentum=0.9),
    )
    return StudyConfig(
        name=name,
        seed=5,
        model=ModelChoice(size="tiny", image_size=IMAGE_SIZE),
        rounds=RoundRules(
            num_sites=len(NAMES), min_sites=len(NAMES), deadline_seconds=300.0, retry_seconds=1.0
        ),
        stages=(stage,),
        transport=Transport(
            download="int8" if kind == "steps" else "fp32",
            inline_bytes=INLINE_BYTES.get(kind, 1000),
            shard_values=SHARD_VALUES,
        ),
    )

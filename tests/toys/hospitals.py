"""Hospitals that answer with numbers drawn from the round and their name: a study whose every bit is known beforehand."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.config import StudyConfig, parse_study, study_digest
from federation.messages import Answer, Instruction, Update
from federation.parcel import pack_inline
from federation.schedule import trained_tensors
from federation.shipment import open_content, open_inline
from federation.stages import FullStage, LocalTraining, LoraStage, OuterStep
from model.arrays import Arrays, digest_arrays
from model.tensor_file import TensorFile, copy_tensors
from model.tensors import InMemory, Tensors
from server.rounds import run_study
from server.sites import Answered, Asked, Event
from server.state import GlobalState
from server.store import StudyStore
from simulation.in_process import Ask, InProcess

Behave = Callable[[Instruction, str], Answer]
A, B = "q.lora_A.weight", "q.lora_B.weight"
SHAPES = ({"w": (2, 3), "v": (4,)}, {A: (2, 3), B: (4, 2)})
LOCAL = LocalTraining(local_steps=2, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=3, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=4, local=LOCAL, rank=2, alpha=2.0)
SITES = ("a", "b", "c")


def drawn(shape: tuple[int, ...], *purpose: object) -> NDArray[np.float32]:
    """Numbers that depend on the purpose alone."""
    seed = list("|".join(map(str, purpose)).encode())
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def first(study: StudyConfig, stage: int) -> Arrays:
    """First weights of a stage."""
    shapes = SHAPES[isinstance(study.stages[stage], LoraStage)]
    return {name: drawn(shape, "start", stage, name) for name, shape in shapes.items()}


def start(study: StudyConfig, stage: int, before: Tensors | None, path: Path) -> Tensors:  # noqa: ARG001  a Start
    """First weights of a stage, whatever the one before left."""
    copy_tensors(path, first(study, stage))
    return TensorFile(path)


def honest(instruction: Instruction, site: str) -> Update:
    """What a hospital answers that does as it is told."""
    study = parse_study(instruction.study)
    weights = open_inline(instruction.weights)
    trained = trained_tensors(study, instruction.round_number, frozenset(weights))
    purpose = (site, instruction.round_number, digest_arrays(weights))
    change = {name: drawn(weights[name].shape, *purpose, name) for name in sorted(trained)}
    parcel, content = pack_inline(InMemory(change), "fp32")
    return Update(
        study_digest=study_digest(study),
        round_number=instruction.round_number,
        received_digest=digest_arrays(weights),
        change=parcel,
        content=content,
        norm=norm_of(change),
        num_steps=2,
        loss=0.5,
        held_out_loss=0.25,
        seconds=1.0,
        num_records=10 + len(site),
        num_files=20,
    )


def norm_of(change: Arrays) -> float:
    """L2 norm, in float64."""
    return math.sqrt(
        sum(float(np.square(part, dtype=np.float64).sum()) for part in change.values())
    )


def change_of(answer: Answer) -> Tensors:
    """What an update brings."""
    assert isinstance(answer, Update)
    assert answer.content is not None
    return open_content(answer.change, answer.content)


def with_change(update: Update, change: Arrays) -> Update:
    """The same update with another change, and true to it."""
    parcel, content = pack_inline(InMemory(change), "fp32")
    return replace(update, change=parcel, content=content, norm=norm_of(change))


def hospitals(sites: Sequence[str] = SITES, behave: Behave = honest) -> Ask:
    """Sites that all answer, in the order given."""

    def ask(instruction: Instruction) -> Iterator[Event]:
        for site in sites:
            yield Asked(site=site, bytes_down=100)
            yield Answered(site=site, answer=behave(instruction, site))

    return ask


def rogue(site: str, answer: Behave) -> Behave:
    """One site answers as it likes, the others honestly."""
    return lambda instruction, each: (answer if each == site else honest)(instruction, each)


def bits(state: GlobalState) -> str:
    """Digest of everything the study goes on from."""
    kinds = {"w": state.weights, "m": state.momentum, "a": state.average, "b": state.base}
    return digest_arrays(
        {f"{k}/{name}": t for k, ts in kinds.items() for name, t in (ts or {}).items()}
    )


def new_run(folder: Path, study: StudyConfig, ask: Ask) -> GlobalState:
    return run_study(StudyStore.create(folder, study), InProcess(ask), start)


STAGES: dict[str, tuple[FullStage | LoraStage, ...]] = {
    "mean": (replace(FULL, outer=OuterStep(learning_rate=0.7, momentum=0.9), ema_decay=0.9),),
    "product-svd": (replace(FULL, num_rounds=1), LORA),
    "alternate": (replace(FULL, num_rounds=1), replace(LORA, rule="alternate")),
}

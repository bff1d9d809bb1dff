"""An instruction checked against its study, and what a hospital starts a round from."""

from dataclasses import dataclass
from pathlib import Path

from client.build import own_weights
from client.config import SiteConfig
from client.fitting import check_finite, check_names
from client.kept import KeptRounds
from client.receiving import forget_others, forget_partial, receive
from client.refused import NotTaken
from federation.config import StudyConfig, parse_study, study_digest
from federation.messages import Instruction, RefusalCode
from federation.schedule import keeps_optimizer_state, trained_tensors
from federation.stages import FullStage, LoraStage
from federation.strict_yaml import ConfigError
from model.arrays import Arrays
from model.tensors import Tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """An instruction, checked against this release."""

    study: StudyConfig
    digest: str
    """Of the study."""
    instruction: Instruction
    stage: FullStage | LoraStage

    @property
    def number(self) -> int:
        """Of the round."""
        return self.instruction.round_number

    @property
    def first_of_stage(self) -> int:
        """Number of the stage's first round."""
        index, _ = self.study.stage_of(self.number)
        return self.study.first_round_of(index)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a round begins with at one hospital."""

    weights: Arrays
    """Read from the disk as they are looked up, or a smaller adapter in memory."""
    trained: frozenset[str]
    """Names of the tensors that train in the round."""
    base_path: Path | None
    """File of the frozen model under an adapter; None where the whole model trains."""


def check(instruction: Instruction) -> Task:
    """The instruction as a task.

    Raises:
        NotTaken: the study cannot be used.
    """
    try:
        study = parse_study(instruction.study)
    except ConfigError as err:  # names keys of the study, nothing of the hospital
        raise NotTaken(RefusalCode.STUDY, str(err)) from err
    _, stage = study.stage_of(instruction.round_number)
    return Task(study=study, digest=study_digest(study), instruction=instruction, stage=stage)


def start_of(site: SiteConfig, task: Task, kept: KeptRounds) -> Start:
    """Receive what the instruction sends; digests are computed here, never believed.

    Raises:
        NotTaken: something did not come, or is not what the instruction names.
    """
    instruction = task.instruction
    check_names(instruction, task.study, task.stage)
    forget_partial(kept.received, instruction)
    weights = receive(site, instruction.weights, kept.received)
    base_path = _base_path(site, task, kept)
    forget_others(kept.received, instruction)
    if isinstance(task.stage, LoraStage):
        check_finite(weights)
    return Start(
        weights=own_weights(task.stage, site.site_name, weights),
        trained=trained_tensors(task.study, task.number, frozenset(weights.shapes)),
        base_path=base_path,
    )


def earlier_optimizer_state(task: Task, kept: KeptRounds) -> Arrays:
    """What the optimizer goes on from: its state after an earlier round of the same stage, or nothing."""
    if not keeps_optimizer_state(task.stage):
        return {}
    return kept.optimizer_state(task.number, first=task.first_of_stage)


def earlier_residual(task: Task, kept: KeptRounds) -> Tensors | None:
    """What rounding took from this stage's changes; None where nobody adds it to a later one.

    Like the optimizer's state it means nothing once the factors were turned into another basis.
    """
    if task.study.transport.upload != "int4" or not keeps_optimizer_state(task.stage):
        return None
    return kept.residual(task.number, first=task.first_of_stage)


def _base_path(site: SiteConfig, task: Task, kept: KeptRounds) -> Path | None:
    if isinstance(task.stage, FullStage):
        return None
    if task.instruction.base is None:
        raise NotTaken(RefusalCode.BASE_MISSING, "the instruction names no frozen model")
    return receive(site, task.instruction.base, kept.received).path

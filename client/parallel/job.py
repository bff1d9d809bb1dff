"""What crosses to the processes of one round and back: a folder of tensors and JSON, never pickle."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from client.config import TrainingMachine
from client.training import LocalResult
from federation.config import StudyConfig, parse_study
from federation.files import write_file
from federation.schedule import derive_seed
from federation.stages import FullStage, LoraStage
from model.arrays import Arrays, load_arrays
from model.streaming import Named, stored_tensors
from model.tensor_file import copy_tensors

JOB, WEIGHTS, OPTIMIZER = "job.json", "weights.safetensors", "optimizer.safetensors"
RESULT, CHANGE, NEW_OPTIMIZER = "result.json", "change.safetensors", "new_optimizer.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One round of one hospital; everything else lies in its folder or where it says."""

    study: str
    """The study as canonical JSON."""
    round_number: int
    site_name: str
    site_number: int | None
    """The hospital's number in the study."""
    trained: tuple[str, ...]
    """Names of the tensors that may move."""
    cache_path: str
    cache_key_path: str | None
    codec_path: str | None
    base_path: str | None
    """File of the frozen model under an adapter; None where the whole model trains."""
    num_threads: int
    """Of each process."""
    machine: TrainingMachine

    @property
    def config(self) -> StudyConfig:
        """The study."""
        return parse_study(self.study)

    @property
    def stage(self) -> FullStage | LoraStage:
        """The stage of the round."""
        return self.config.stage_of(self.round_number)[1]

    @property
    def seed(self) -> int:
        """Of batches, noise draws and hidden attributes."""
        return derive_seed(self.config, self.site_name, self.round_number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a round gave."""

    result: LocalResult
    held_out_loss: float
    """Before training."""


def write_job(folder: Path, job: Job, weights: Arrays, optimizer_state: Arrays) -> None:
    """Fill a folder; the description comes last, so that a job with one is whole."""
    copy_tensors(folder / WEIGHTS, weights)
    copy_tensors(folder / OPTIMIZER, optimizer_state)
    write_file(folder / JOB, json.dumps(asdict(job)).encode())


def read_job(folder: Path) -> Job:
    """What ``write_job`` wrote."""
    content = json.loads((folder / JOB).read_text())
    machine = TrainingMachine(**content.pop("machine"))
    return Job(**content | {"trained": tuple(content["trained"]), "machine": machine})


def weights_of(folder: Path, job: Job) -> Iterator[Named]:
    """Every tensor that is given, one at a time: the frozen model's first."""
    if job.base_path is not None:
        yield from stored_tensors(Path(job.base_path))
    yield from stored_tensors(folder / WEIGHTS)


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Tensors first, then the numbers: an outcome with numbers is whole."""
    result = outcome.result
    copy_tensors(folder / CHANGE, result.change)
    copy_tensors(folder / NEW_OPTIMIZER, result.optimizer_state)
    numbers = {
        "loss": result.loss,
        "seconds": result.seconds,
        "held_out_loss": outcome.held_out_loss,
    }
    write_file(folder / RESULT, json.dumps(numbers).encode())


def read_outcome(folder: Path) -> Outcome:
    """What ``write_outcome`` wrote."""
    numbers = json.loads((folder / RESULT).read_text())
    return Outcome(
        result=LocalResult(
            change=load_arrays(folder / CHANGE),
            optimizer_state=load_arrays(folder / NEW_OPTIMIZER),
            loss=numbers["loss"],
            seconds=numbers["seconds"],
        ),
        held_out_loss=numbers["held_out_loss"],
    )

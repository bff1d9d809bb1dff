"""From a model that draws in many steps to one that draws in few: teacher's ways, student, model folder."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from client.device import best_device
from federation.files import hold_lock
from model.arrays import WrongModelFile, digest_arrays
from model.checkpoint import network_arrays
from model.distillation.student import StudentTraining, train_student
from model.folder import save_model
from model.generate import open_network
from model.guidance import Guidance
from model.manifest import MANIFEST_NAME, Manifest, read_manifest
from model.sampler import Sampling
from model.transformer import RectifiedFlowTransformer
from synthesis.distillation.conditions import random_conditions
from synthesis.distillation.ways import WayPlan, Ways, crossings, draw_ways, open_ways
from synthesis.generation.prompts import read_prompts

TEACHER_STEPS = 30
"""Heun steps of the teacher, rounded up to a multiple of the student's."""

OnProgress = Callable[[str, int, int, float | None], None]
"""Takes what is done, how much of it, of how much, and the loss if there is one."""


class AlreadyDistilled(ValueError):
    """A student as teacher."""

    def __init__(self, model: Path, num_steps: int) -> None:
        super().__init__(
            f"{model} was distilled to {num_steps} steps already: give the model that it was distilled from"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """What was asked for."""

    num_steps: int
    """Sampling steps of the student."""
    num_pairs: int
    """Ways from noise to picture that the teacher draws."""
    guidance: float
    """Scale that the student takes over from its teacher; it is part of the student's weights afterwards."""
    training_steps: int
    batch_size: int
    learning_rate: float
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Distilled:
    """What came of it."""

    manifest: Manifest
    first_loss: float
    """Mean squared distance of landings from the teacher's points, over the first tenth of the training."""
    last_loss: float
    """The same over the last tenth."""


def distil(
    model: Path,
    out: Path,
    wanted: Distillation,
    *,
    adapter: Path | None,
    prompts: Path | None,
    on_progress: OnProgress,
) -> Distilled:
    """Draw the teacher's ways, train the student, and save it.

    The ways lie beside ``out`` until the student is saved; the same call goes on with them.

    Args:
        model: the teacher's folder.
        out: folder that gets the student.
        wanted: how.
        adapter: folder of an adapter to the teacher.
        prompts: table of conditions to learn; made-up ones if there is none.
        on_progress: told after every batch and every step.

    Raises:
        AlreadyDistilled: the teacher is a student.
        WrongModelFile: a folder is not what it should be, or ``out`` holds a model.
        OtherWays, NoRoom, AlreadyRunning: about the folder beside ``out``.
    """
    if (out / MANIFEST_NAME).exists():
        raise WrongModelFile(out, "holds a model already", "give a new folder")
    network, manifest = _open_teacher(model, adapter)
    plan = WayPlan(
        rows=_conditions(network, manifest, wanted, prompts),
        num_pieces=wanted.num_steps,
        sampling=_teacher_sampling(wanted),
        seed=wanted.seed,
    )
    part = out.with_name(f"{out.name}.part")
    with hold_lock(part / "lock"):
        ways = open_ways(part, plan, network, manifest.weights_digest)
        draw_ways(ways, network, lambda done, of: on_progress("drawing", done, of, None))
        student, losses = _learn(network, ways, wanted, on_progress)
        saved = _save(out, student, manifest, wanted.num_steps)
        shutil.rmtree(part)
    return _summary(saved, losses)


def _summary(manifest: Manifest, losses: list[float]) -> Distilled:
    tenth = max(1, len(losses) // 10)
    return Distilled(
        manifest=manifest,
        first_loss=float(np.mean(losses[:tenth])),
        last_loss=float(np.mean(losses[-tenth:])),
    )


def _open_teacher(model: Path, adapter: Path | None) -> tuple[RectifiedFlowTransformer, Manifest]:
    """The teacher where it computes fastest, and who is behind it.

    With an adapter, the digest is the adapter's, which names the model below it in turn.
    """
    network, manifest, _ = open_network(model, adapter)
    if manifest.distilled_steps is not None:
        raise AlreadyDistilled(model, manifest.distilled_steps)
    if adapter is not None:
        its = read_manifest(adapter)
        manifest = replace(
            manifest,
            rounds=its.rounds,
            sites=tuple(sorted({*manifest.sites, *its.sites})),
            site_numbers={**manifest.site_numbers, **its.site_numbers},
            weights_digest=its.weights_digest,
        )
    return network.to(best_device()), manifest


def _conditions(
    network: RectifiedFlowTransformer,
    manifest: Manifest,
    wanted: Distillation,
    prompts: Path | None,
) -> NDArray[np.float32]:
    """One row for each way: the table's over and over, or made-up ones."""
    schema, sites = network.schema, manifest.site_numbers
    if prompts is None:
        rng = np.random.default_rng(wanted.seed)
        return random_conditions(schema, sites.values(), wanted.num_pairs, rng)
    table = read_prompts(prompts, schema, sites, usual_count=1)
    rows = np.repeat(table.rows, table.counts, axis=0)
    return rows[np.arange(wanted.num_pairs) % len(rows)]


def _teacher_sampling(wanted: Distillation) -> Sampling:
    """How the teacher draws: with the student's steps as equal parts of its own."""
    return Sampling(
        num_steps=-(-TEACHER_STEPS // wanted.num_steps) * wanted.num_steps,
        guidance=Guidance(scale=wanted.guidance),
        method="heun",
    )


def _learn(
    network: RectifiedFlowTransformer, ways: Ways, wanted: Distillation, on_progress: OnProgress
) -> tuple[nn.Module, list[float]]:
    """The student, and the loss of every step."""
    losses = list[float]()

    def on_step(number: int, loss: float) -> None:
        losses.append(loss)
        on_progress("training", number, wanted.training_steps, loss)

    training = StudentTraining(
        num_pieces=wanted.num_steps,
        num_steps=wanted.training_steps,
        learning_rate=wanted.learning_rate,
    )
    batches = crossings(
        ways, batch_size=wanted.batch_size, seed=wanted.seed + 1, device=best_device()
    )
    noise_size = network.config.noise_size
    student = train_student(network, batches, training, noise_size=noise_size, on_step=on_step)
    return student, losses


def _save(out: Path, student: nn.Module, manifest: Manifest, num_steps: int) -> Manifest:
    """Write the student's folder; its lineage goes on from the teacher."""
    arrays = network_arrays(student)
    saved = replace(
        manifest,
        parent_digest=manifest.weights_digest,
        weights_digest=digest_arrays(arrays),
        distilled_steps=num_steps,
    )
    save_model(out, arrays, saved)
    return saved

"""One federated round at one hospital, without Flower: instruction in, answer out."""

import logging
import math
from dataclasses import replace
from functools import partial

import numpy as np

from client.build import build
from client.cache.layout import CacheUnusable, cache_path
from client.config import SiteConfig
from client.control.gate import gate_of
from client.control.interrupting import interruptible
from client.control.quota import require_room
from client.delivery import leave_at_once
from client.device import best_device, require_gpus
from client.evidence.recording import change_made, plan_of, round_asked, round_refused, signed
from client.kept import Asked, Finished, KeptRounds, study_folder, write_finished
from client.leaving import let_leave
from client.losses import held_out_loss
from client.opening import as_network_sees, not_usable, open_records
from client.packing import CHANGE, pack_change
from client.parallel.job import Job, Outcome
from client.parallel.launch import train_together
from client.preparation import prepare
from client.private_round import PrivateRound, allow, policy_of, private_round
from client.refused import NotTaken
from client.task import Start, Task, check, earlier_optimizer_state, earlier_residual, start_of
from client.training import train_locally
from client.training_records import EncodedRecords, TrainingRecords
from federation.messages import Answer, Instruction, RefusalCode, Update
from federation.schedule import derive_seed
from model.tensors import as_tensors
from privacy.ledger.chain import Head
from privacy.training.checks import NotPrivate

logger = logging.getLogger(__name__)


def answer(site: SiteConfig, instruction: Instruction) -> Answer:
    """Train once per instruction; asked again, send the same bytes again."""
    try:
        task = check(instruction)
        gate_of(site).require_open(task.digest)
        round_asked(site, instruction, study=task.study.name)
        kept = KeptRounds(study_folder(site, task.digest))
        with kept.lock():  # asked again while still training: wait, then send what that gave
            finished = finished_update(site, task, kept)
            came_inside = len(instruction.weights.content or b"")  # where nothing can travel beside
            inside = max(task.study.transport.inline_bytes, came_inside)
            ready = finished.ready(min(inside, site.limits.upload_bytes_per_second or inside))
            if ready.content is None and instruction.box is not None:
                leave_at_once(site, instruction.box, finished, kept)
            return signed(site, ready, plan=plan_of(instruction))
    except CacheUnusable as err:  # a picture that turned out damaged when it was its turn
        refusal = not_usable(err).refusal
    except NotTaken as err:
        logger.warning("round %d is not taken: %s", instruction.round_number, err)
        refusal = err.refusal
    round_refused(site, instruction, refusal)
    return refusal


def finished_update(site: SiteConfig, task: Task, kept: KeptRounds) -> Finished:
    """What may leave: trained once, paid for once, looked at once more."""
    instruction, policy = task.instruction, policy_of(site)
    allow(policy, task.stage, base_digest=instruction.base_digest)
    private = private_round(policy, task.stage, digest=task.digest, number=task.number)
    if private is not None:
        private.require_newest_ledger(site.state_path)
        private.take_receipt(instruction, kept.folder, site_name=site.site_name)
    kept.forget_changes_before(task.number)
    finished = kept.find(task.number, instruction.weights.digest)
    if finished is None:
        require_room(site, instruction, kept.received)
        require_gpus(site.limits)
        with interruptible(gate_of(site), task.digest):
            finished = train(site, task, kept, private)
    change_made(site, instruction, finished)
    let_leave(site, finished, plan_of(instruction))
    return finished


def train(
    site: SiteConfig, task: Task, kept: KeptRounds, private: PrivateRound | None = None
) -> Finished:
    """Train for one round and keep the finished update on disk."""
    records = open_records(site, task.study).at_site(task.instruction.site_number)
    seen = as_network_sees(records, site, task.study)  # also a check, while its reason can be told
    start = start_of(site, task, kept)
    if private is not None:
        return train_in_private(site, task, kept, start=start, seen=seen, private=private)
    if site.training.processes > 1:
        del seen  # each process opens an autoencoder of its own
        job, folder = together(site, task, start), kept.folder / "job"
        state = earlier_optimizer_state(task, kept)
        look = partial(gate_of(site).require_open, task.digest)
        outcome = train_together(folder, job, start.weights, state, look=look)
    else:
        outcome = train_here(site, task, kept, start, seen)
    return keep(
        task,
        kept,
        start,
        outcome,
        num_records=len(records) if site.share_counts else 0,
        num_files=records.tally.num_files if site.share_counts else 0,
    )


def train_in_private(
    site: SiteConfig,
    task: Task,
    kept: KeptRounds,
    *,
    start: Start,
    seen: EncodedRecords,
    private: PrivateRound,
) -> Finished:
    """Train for one round with differential privacy; what follows from single patients stays."""
    from client.private_training import train_privately  # noqa: PLC0415  Opacus loads for seconds

    if site.training.processes > 1:
        reason = "private training runs in one process: the hospital's data manager sets training.processes to 1"
        raise NotTaken(RefusalCode.STUDY, reason)
    network = build(task.study, task.stage, site.site_name, start.weights, start.base_path)
    network.to(best_device())
    prepare(network, replace(site.training, compile=False))  # compiled blocks have no hooks
    head = private.reserve(len(np.unique(seen.patients)))
    try:
        result = train_privately(
            network,
            start.trained,
            seen,
            task.stage.local,
            optimizer_state=earlier_optimizer_state(task, kept),
            num_threads=site.num_threads,
        )
    except NotPrivate as err:
        reason = f"the study cannot be private: {err}"
        raise NotTaken(RefusalCode.STUDY, reason) from err
    told = Outcome(result=replace(result, seconds=0.0), held_out_loss=math.nan)
    return keep(task, kept, start, told, ledger=head)


def train_here(
    site: SiteConfig, task: Task, kept: KeptRounds, start: Start, records: TrainingRecords
) -> Outcome:
    """One round in this process."""
    network = build(task.study, task.stage, site.site_name, start.weights, start.base_path)
    network.to(best_device())
    held_out = held_out_loss(network, records, seed=derive_seed(task.study, "held-out"))
    prepare(network, site.training)
    result = train_locally(
        network,
        start.trained,
        records,
        task.stage.local,
        seed=derive_seed(task.study, site.site_name, task.number),
        optimizer_state=earlier_optimizer_state(task, kept),
        num_threads=site.num_threads,
    )
    return Outcome(result=result, held_out_loss=held_out)


def together(site: SiteConfig, task: Task, start: Start) -> Job:
    """The same round as a job for several processes."""
    return Job(
        study=task.instruction.study,
        round_number=task.number,
        site_name=site.site_name,
        site_number=task.instruction.site_number,
        trained=tuple(sorted(start.trained)),
        cache_path=str(cache_path(site)),
        cache_key_path=None if site.cache_key_path is None else str(site.cache_key_path),
        codec_path=None if task.study.model.codec_digest is None else str(site.codec_path),
        base_path=None if start.base_path is None else str(start.base_path),
        num_threads=max(1, site.num_threads // site.training.processes),
        machine=site.training,
    )


def keep(
    task: Task,
    kept: KeptRounds,
    start: Start,
    outcome: Outcome,
    *,
    num_records: int = 0,
    num_files: int = 0,
    ledger: Head | None = None,
) -> Finished:
    """Make a trained round ready for its way, once and for all, and put it on the disk."""
    instruction, result = task.instruction, outcome.result
    asked = Asked(
        study=instruction.study,
        base_digest=instruction.base_digest,
        trained=tuple(sorted(start.trained)),
    )
    with kept.new_round(task.number) as folder:
        packed = pack_change(
            folder,
            as_tensors(result.change),
            task.study.transport,
            earlier=earlier_residual(task, kept),
        )
        update = Update(
            study_digest=task.digest,
            round_number=task.number,
            received_digest=instruction.weights.digest,
            change=packed.parcel,
            norm=packed.norm,
            num_steps=task.stage.local.local_steps,
            loss=result.loss,
            held_out_loss=outcome.held_out_loss,
            seconds=result.seconds,
            num_records=num_records,
            num_files=num_files,
            ledger=ledger,
        )
        write_finished(folder, update, asked, result.optimizer_state)
    return Finished(update=update, asked=asked, path=kept.round_path(task.number) / CHANGE)

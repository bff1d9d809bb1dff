"""One federated round at one hospital, without Flower: instruction in, answer out."""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from client.cache.layout import (
    CacheUnusable,
    cache_path,
)
from client.config import SiteConfig
from client.device import best_device, frozen_dtype
from client.kept import KeptRounds
from client.leaving import check_leaves
from client.losses import held_out_loss
from client.opening import as_network_sees, not_usable, open_records
from client.parallel.job import Job, Outcome
from client.parallel.launch import train_together
from client.preparation import prepare
from client.private_round import PrivateRound, allow, policy_of, private_round
from client.private_training import train_privately
from client.refused import NotTaken
from client.training import train_locally
from client.training_records import EncodedRecords, TrainingRecords
from federation.config import FullStage, LoraStage, StudyConfig, parse_study, study_digest
from federation.messages import Answer, Instruction, RefusalCode, Update
from federation.schedule import derive_seed, keeps_optimizer_state, trained_tensors
from federation.strict_yaml import ConfigError
from model.adapter import attach, load
from model.arrays import Arrays, digest_arrays
from model.checkpoint import load_arrays_into
from model.conditioning import Schema
from model.streaming import frozen_network, stored_tensors
from model.transformer import RectifiedFlowTransformer
from privacy.training.checks import NotPrivate

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """An instruction, checked against this hospital."""

    study: StudyConfig
    digest: str
    instruction: Instruction
    received_digest: str
    stage: FullStage | LoraStage
    trained: frozenset[str]
    """Names of the tensors that train in the round."""


def answer(site: SiteConfig, instruction: Instruction) -> Answer:
    """Train once per instruction; asked again, send the same bytes again."""
    try:
        task = check(instruction)
        kept = KeptRounds(site.state_path / "studies" / task.digest[:12])
        with kept.lock():  # asked again while still training: wait, then send what that gave
            return finished_update(site, task, kept)
    except CacheUnusable as err:  # a picture that turned out damaged when it was its turn
        return not_usable(err).refusal
    except NotTaken as err:
        logger.warning("round %d is not taken: %s", instruction.round_number, err)
        return err.refusal


def finished_update(site: SiteConfig, task: Task, kept: KeptRounds) -> Update:
    """What may leave: trained once, paid for once, looked at once more."""
    number, policy = task.instruction.round_number, policy_of(site)
    allow(policy, task.stage, base_digest=task.instruction.base_digest)
    private = private_round(policy, task.stage, digest=task.digest, number=number)
    if private is not None:
        private.take_receipt(task.instruction, kept.folder, site_name=site.site_name)
    update = kept.find(number, task.received_digest) or train(site, task, kept, private)
    check_leaves(update, task.stage, task.trained)
    if private is not None:
        private.settle(digest_arrays(update.change))
    return update


def check(instruction: Instruction) -> Task:
    """The instruction as a task; the digests are computed here, never believed."""
    try:
        study = parse_study(instruction.study)
    except ConfigError as err:  # names keys of the study, nothing of the hospital
        raise NotTaken(RefusalCode.STUDY, str(err)) from err
    _, stage = study.stage_of(instruction.round_number)
    return Task(
        study=study,
        digest=study_digest(study),
        instruction=instruction,
        received_digest=digest_arrays(instruction.weights),
        stage=stage,
        trained=trained_tensors(study, instruction.round_number, frozenset(instruction.weights)),
    )


def train(
    site: SiteConfig, task: Task, kept: KeptRounds, private: PrivateRound | None = None
) -> Update:
    """Train for one round, keep the finished update on disk, and return it."""
    records = open_records(site, task.study).at_site(task.instruction.site_number)
    seen = as_network_sees(records, site, task.study)  # also a check, while its reason can be told
    if private is not None:
        return train_in_private(site, task, kept, seen, private)
    if site.training.processes > 1:
        del seen  # each process opens an autoencoder of its own
        job, folder = together(site, task, kept), kept.folder / "job"
        state = earlier_optimizer_state(task, kept)
        outcome = train_together(folder, job, task.instruction.weights, state)
    else:
        outcome = train_here(site, task, kept, seen)
    result = outcome.result
    update = Update(
        study_digest=task.digest,
        round_number=task.instruction.round_number,
        received_digest=task.received_digest,
        change=result.change,
        num_steps=task.stage.local.local_steps,
        loss=result.loss,
        held_out_loss=outcome.held_out_loss,
        seconds=result.seconds,
        num_records=len(records) if site.share_counts else 0,
        num_files=records.tally.num_files if site.share_counts else 0,
    )
    kept.keep(update, result.optimizer_state)
    return update


def train_in_private(
    site: SiteConfig, task: Task, kept: KeptRounds, seen: EncodedRecords, private: PrivateRound
) -> Update:
    """Train for one round with differential privacy; what follows from single patients stays."""
    if site.training.processes > 1:
        reason = "private training runs in one process: the hospital's data manager sets training.processes to 1"
        raise NotTaken(RefusalCode.STUDY, reason)
    network = build(task, kept).to(best_device())
    prepare(network, replace(site.training, compile=False))  # compiled blocks have no hooks
    head = private.reserve(len(np.unique(seen.patients)))
    try:
        result = train_privately(
            network,
            task.trained,
            seen,
            task.stage.local,
            optimizer_state=earlier_optimizer_state(task, kept),
            num_threads=site.num_threads,
        )
    except NotPrivate as err:
        reason = f"the study cannot be private: {err}"
        raise NotTaken(RefusalCode.STUDY, reason) from err
    update = Update(
        study_digest=task.digest,
        round_number=task.instruction.round_number,
        received_digest=task.received_digest,
        change=result.change,
        num_steps=task.stage.local.local_steps,
        loss=result.loss,
        held_out_loss=math.nan,
        seconds=0.0,
        num_records=0,
        num_files=0,
        ledger=head,
    )
    kept.keep(update, result.optimizer_state)
    return update


def train_here(site: SiteConfig, task: Task, kept: KeptRounds, records: TrainingRecords) -> Outcome:
    """One round in this process."""
    number = task.instruction.round_number
    network = build(task, kept).to(best_device())
    held_out = held_out_loss(network, records, seed=derive_seed(task.study, "held-out"))
    prepare(network, site.training)
    result = train_locally(
        network,
        task.trained,
        records,
        task.stage.local,
        seed=derive_seed(task.study, site.site_name, number),
        optimizer_state=earlier_optimizer_state(task, kept),
        num_threads=site.num_threads,
    )
    return Outcome(result=result, held_out_loss=held_out)


def together(site: SiteConfig, task: Task, kept: KeptRounds) -> Job:
    """The same round as a job for several processes."""
    number = task.instruction.round_number
    frozen = isinstance(task.stage, LoraStage)
    return Job(
        study=task.instruction.study,
        round_number=number,
        site_name=site.site_name,
        site_number=task.instruction.site_number,
        trained=tuple(sorted(task.trained)),
        cache_path=str(cache_path(site)),
        cache_key_path=None if site.cache_key_path is None else str(site.cache_key_path),
        codec_path=None if task.study.model.codec_digest is None else str(site.codec_path),
        base_path=str(base_path(task, kept)) if frozen else None,
        num_threads=max(1, site.num_threads // site.training.processes),
        machine=site.training,
    )


def build(task: Task, kept: KeptRounds) -> nn.Module:
    """The network with the received weights; in a LoRA stage, an adapter on the frozen base."""
    config, schema = task.study.model_config, Schema(task.study.findings)
    if isinstance(task.stage, FullStage):
        network = RectifiedFlowTransformer(config, schema)
        load_arrays_into(network, task.instruction.weights)
        return network
    kept_as = frozen_dtype(task.stage.local.precision, best_device())
    tensors = stored_tensors(base_path(task, kept))
    frozen = frozen_network(config, schema, tensors, matrices=kept_as)
    adapted = attach(frozen, task.stage.adapter, torch.Generator())
    load(adapted, task.instruction.weights)
    return adapted


def base_path(task: Task, kept: KeptRounds) -> Path:
    """Where the frozen model lies that the instruction names, received now or kept from before."""
    wanted, received = task.instruction.base_digest, task.instruction.base
    if received is not None:
        if digest_arrays(received) != wanted:
            raise NotTaken(
                RefusalCode.STALE, "the frozen model is not the one the instruction names"
            )
        kept.keep_base(wanted, received)
    path = kept.base_path(wanted)
    if not path.exists():
        raise NotTaken(RefusalCode.BASE_MISSING, "the hospital does not hold the frozen model")
    return path


def earlier_optimizer_state(task: Task, kept: KeptRounds) -> Arrays:
    """What the optimizer goes on from: its state after an earlier round of the same stage, or nothing."""
    if not keeps_optimizer_state(task.stage):
        return {}
    number = task.instruction.round_number
    index, _ = task.study.stage_of(number)
    return kept.optimizer_state(number, first=task.study.first_round_of(index))

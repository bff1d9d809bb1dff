"""One federated round at one hospital, without Flower: instruction in, answer out."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from client.cache.cipher import CacheKeyUnusable
from client.cache.layout import (
    CacheDamaged,
    CacheMissing,
    CacheOutdated,
    CacheUnusable,
    cache_path,
)
from client.cache.records import Records, open_cache_of
from client.config import SiteConfig
from client.device import best_device, frozen_dtype
from client.kept import KeptRounds
from client.losses import held_out_loss
from client.parallel.job import Job, Outcome
from client.parallel.launch import train_together
from client.preparation import prepare
from client.training import train_locally
from client.training_records import EncodedRecords, TrainingRecords
from federation.config import FullStage, LoraStage, StudyConfig, parse_study, study_digest
from federation.messages import Answer, Instruction, Refusal, RefusalCode, Update
from federation.schedule import derive_seed, keeps_optimizer_state, trained_tensors
from federation.strict_yaml import ConfigError
from model.adapter import attach, load
from model.arrays import Arrays, digest_arrays
from model.checkpoint import load_arrays_into
from model.codec.autoencoder_folder import WrongCodec
from model.codec.diffusers_codec import DiffusersMissing
from model.codec.opening import CodecMissing, open_codec
from model.conditioning import Schema
from model.streaming import frozen_network, stored_tensors
from model.transformer import RectifiedFlowTransformer

logger = logging.getLogger(__name__)


class NotTaken(RuntimeError):
    """This hospital cannot take the instruction, for a reason whose words are our own."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code=code, reason=reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """An instruction, checked against this hospital."""

    study: StudyConfig
    digest: str
    instruction: Instruction
    received_digest: str
    stage: FullStage | LoraStage


def answer(site: SiteConfig, instruction: Instruction) -> Answer:
    """Train once per instruction; asked again, send the same bytes again."""
    try:
        task = check(instruction)
        kept = KeptRounds(site.state_path / "studies" / task.digest[:12])
        with kept.lock():  # asked again while still training: wait, then send what that gave
            update = kept.find(instruction.round_number, task.received_digest)
            return update or train(site, task, kept)
    except CacheUnusable as err:  # a picture that turned out damaged when it was its turn
        return not_usable(err).refusal
    except NotTaken as err:
        logger.warning("round %d is not taken: %s", instruction.round_number, err)
        return err.refusal


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
    )


def train(site: SiteConfig, task: Task, kept: KeptRounds) -> Update:
    """Train for one round, keep the finished update on disk, and return it."""
    records = open_records(site, task.study).at_site(task.instruction.site_number)
    seen = as_network_sees(records, site, task.study)  # also a check, while its reason can be told
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


def train_here(site: SiteConfig, task: Task, kept: KeptRounds, records: TrainingRecords) -> Outcome:
    """One round in this process."""
    number = task.instruction.round_number
    network = build(task, kept).to(best_device())
    held_out = held_out_loss(network, records, seed=derive_seed(task.study, "held-out"))
    prepare(network, site.training)
    result = train_locally(
        network,
        trained_tensors(task.study, number, frozenset(task.instruction.weights)),
        records,
        task.stage.local,
        seed=derive_seed(task.study, site.site_name, number),
        optimizer_state=earlier_optimizer_state(task, kept),
        num_threads=site.num_threads,
    )
    return Outcome(result=result, held_out_loss=held_out)


def together(site: SiteConfig, task: Task, kept: KeptRounds) -> Job:
    """The same round as a job for several processes."""
    number, weights = task.instruction.round_number, task.instruction.weights
    frozen = isinstance(task.stage, LoraStage)
    return Job(
        study=task.instruction.study,
        round_number=number,
        site_name=site.site_name,
        site_number=task.instruction.site_number,
        trained=tuple(sorted(trained_tensors(task.study, number, frozenset(weights)))),
        cache_path=str(cache_path(site)),
        cache_key_path=None if site.cache_key_path is None else str(site.cache_key_path),
        codec_path=None if task.study.model.codec_digest is None else str(site.codec_path),
        base_path=str(base_path(task, kept)) if frozen else None,
        num_threads=max(1, site.num_threads // site.training.processes),
        machine=site.training,
    )


def open_site_cache(site: SiteConfig) -> Records:
    """This hospital's cache, whatever it holds."""
    try:
        return open_cache_of(site)
    except CacheMissing as err:
        reason = "the hospital has no cache: its data manager types `fedcxr hospital ingest`"
        raise NotTaken(RefusalCode.NO_CACHE, reason) from err
    except (CacheUnusable, CacheKeyUnusable) as err:
        raise not_usable(err) from err


def not_usable(err: CacheUnusable | CacheKeyUnusable) -> NotTaken:
    """What the coordinator hears of a cache that cannot be read; the whole sentence names paths."""
    logger.error("%s", err)
    what = "damaged: its data manager types `fedcxr hospital ingest --rebuild`"
    if isinstance(err, CacheOutdated):
        what = "outdated: its data manager types `fedcxr hospital ingest`"
    elif not isinstance(err, CacheDamaged):
        what = "locked: its data manager corrects the key of the cache"
    return NotTaken(RefusalCode.CACHE, f"the hospital's cache is {what}")


def open_records(site: SiteConfig, study: StudyConfig) -> Records:
    """This hospital's cache, if it fits the study."""
    records = open_site_cache(site)
    held, wanted = records.image_size, study.model.image_size
    if held != wanted or records.findings != study.findings:
        reason = (
            f"the hospital's cache holds {held}-pixel radiographs with {len(records.findings)} findings, the study "
            f"needs {wanted} pixels and {len(study.findings)} findings: its data manager sets image_size and "
            f"findings and types `fedcxr hospital ingest`"
        )
        raise NotTaken(RefusalCode.CACHE, reason)
    if records.num_training == 0:
        raise NotTaken(RefusalCode.CACHE, "the hospital's cache holds no radiograph to train on")
    return records


def as_network_sees(records: Records, site: SiteConfig, study: StudyConfig) -> EncodedRecords:
    """The records as pixels, or through the hospital's copy of the study's autoencoder.

    A hospital with an autoencoder takes part in studies of pixels too.
    """
    digest = study.model.codec_digest
    path = None if digest is None else site.codec_path
    try:
        codec = open_codec(study.model_config, digest, path, device=best_device())
    except (CodecMissing, WrongCodec, DiffusersMissing) as err:
        raise no_autoencoder(err, str(digest)) from err
    return EncodedRecords(records=records, codec=codec)


def no_autoencoder(err: CodecMissing | WrongCodec | DiffusersMissing, digest: str) -> NotTaken:
    """What the coordinator hears of an autoencoder that is not there; the whole sentence names paths."""
    logger.error("%s", err)
    what = "has no copy of" if isinstance(err, CodecMissing) else "cannot use its copy of"
    reason = (
        f"the hospital {what} the study's autoencoder {digest[:12]}: its data manager sets codec_path to the "
        f"folder that holds it and types `fedcxr model codec` on that folder"
    )
    return NotTaken(RefusalCode.STUDY, reason)


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

"""What a federation is measured against: each hospital by itself, and all data in one place.

Both train the same stages, with the same numbers of rounds and local steps, by the same local training.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from client.cache.cipher import load_key
from client.cache.records import Records, join, open_cache
from client.device import best_device
from client.losses import mean_loss
from client.training import train_locally
from client.training_records import EncodedRecords, TrainingRecords
from federation.config import StudyConfig
from federation.schedule import derive_seed, keeps_optimizer_state, trained_tensors
from federation.stages import FullStage
from model.arrays import Arrays
from model.checkpoint import load_arrays_into, network_arrays
from model.codec.opening import open_codec
from model.conditioning import Schema
from model.initial import initial_network
from model.tensor_file import copy_tensors
from model.transformer import RectifiedFlowTransformer
from server.aggregation.outer import add


def train_alone(
    study: StudyConfig,
    records: TrainingRecords,
    name: str,
    *,
    start: Arrays | None = None,
    num_threads: int = 1,
) -> Arrays:
    """The whole model after all full stages, trained on one set of records, without privacy."""
    weights = start or fresh_weights(study)
    optimizer_state: Arrays = {}
    for number in range(1, study.num_rounds + 1):
        index, stage = study.stage_of(number)
        if not isinstance(stage, FullStage):
            break
        if number == study.first_round_of(index):
            optimizer_state = {}
        result = train_locally(
            build_network(study, weights).to(best_device()),
            trained_tensors(study, number, frozenset(weights)),
            records,
            stage.local,
            seed=derive_seed(study, name, number),
            optimizer_state=optimizer_state if keeps_optimizer_state(stage) else {},
            num_threads=num_threads,
        )
        change, optimizer_state = result.change, result.optimizer_state
        weights = add(weights, change)
    return weights


def fresh_weights(study: StudyConfig) -> Arrays:
    """What a study starts from that names no model."""
    seed = derive_seed(study, "initial")
    return network_arrays(initial_network(study.model_config, Schema(study.findings), seed=seed))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Alternative:
    """One training without a federation."""

    study: StudyConfig
    caches: list[tuple[Path, int | None]]
    """Of one or several hospitals, each with the number that stands for it."""
    name: str
    path: Path
    """Gets the weights."""
    codec_path: Path | None = None
    start: Arrays | None = None
    """What the study starts from; None for fresh weights."""


def keep_trained(job: Alternative) -> None:
    """Train, and keep the weights in a file."""
    records = [open_cache(cache, load_key(None)).at_site(number) for cache, number in job.caches]
    seen = as_network_sees(job.study, join(records), job.codec_path)
    weights = train_alone(job.study, seen, job.name, start=job.start)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    copy_tensors(job.path, weights)


def as_network_sees(
    study: StudyConfig, records: Records, codec_path: Path | None
) -> EncodedRecords:
    """Records as pixels, or through the study's autoencoder."""
    codec = open_codec(
        study.model_config, study.model.codec_digest, codec_path, device=best_device()
    )
    return EncodedRecords(records=records, codec=codec)


def build_network(study: StudyConfig, weights: Arrays) -> RectifiedFlowTransformer:
    """The study's network with the given weights."""
    network = RectifiedFlowTransformer(study.model_config, Schema(study.findings))
    load_arrays_into(network, weights)
    return network


def loss_on(
    network: nn.Module, records: TrainingRecords, *, seed: int, batch_size: int = 32
) -> float:
    """Mean loss over all records, with fixed noise, so that two networks can be compared."""
    indices = np.array_split(np.arange(len(records)), -(-len(records) // batch_size))
    losses = [
        len(part) * mean_loss(network, records.batch(part), seed=seed + number)
        for number, part in enumerate(indices)
    ]
    return sum(losses) / len(records)

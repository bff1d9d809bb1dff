"""What a federation is measured against: each hospital by itself, and all data in one place.

Both train the same stages, with the same numbers of rounds and local steps, by the same local training.
"""

from pathlib import Path

import numpy as np
from torch import nn

from client.cache.cipher import load_key
from client.cache.records import Records, join, open_cache
from client.training import best_device, mean_loss, train_locally
from federation.config import FullStage, StudyConfig
from federation.schedule import derive_seed, keeps_optimizer_state, trained_tensors
from model.arrays import Arrays, save_arrays
from model.checkpoint import load_arrays_into
from model.conditioning import Schema
from model.transformer import RectifiedFlowTransformer
from server.aggregation import add, mean_change
from server.start import starting_weights


def train_alone(study: StudyConfig, records: Records, name: str, *, num_threads: int = 1) -> Arrays:
    """The whole model after all full stages, trained on one set of records."""
    weights: Arrays = {}
    optimizer_state: Arrays = {}
    for number in range(1, study.num_rounds + 1):
        index, stage = study.stage_of(number)
        if not isinstance(stage, FullStage):
            break
        if number == study.first_round_of(index):
            weights, optimizer_state = starting_weights(study, index, weights), {}
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
        weights = add(weights, mean_change({name: 1.0}, {name: change}.__getitem__))
    return weights


def keep_trained(study: StudyConfig, caches: list[Path], name: str, path: Path) -> None:
    """Train on the records of one or several hospitals and keep the weights in a file."""
    weights = train_alone(
        study, join([open_cache(cache, load_key(None)) for cache in caches]), name
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(path, weights, {})


def build_network(study: StudyConfig, weights: Arrays) -> RectifiedFlowTransformer:
    """The study's network with the given weights."""
    network = RectifiedFlowTransformer(study.model_config, Schema(study.findings))
    load_arrays_into(network, weights)
    return network


def loss_on(network: nn.Module, records: Records, *, seed: int, batch_size: int = 32) -> float:
    """Mean loss over all records, with fixed noise, so that two networks can be compared."""
    indices = np.array_split(np.arange(len(records)), -(-len(records) // batch_size))
    losses = [
        len(part) * mean_loss(network, records.batch(part), seed=seed + number)
        for number, part in enumerate(indices)
    ]
    return sum(losses) / len(records)

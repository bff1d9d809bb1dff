"""A study of one hospital: the whole federation does what local training does, to the bit."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from client.cache.layout import cache_path
from client.cache.records import open_cache
from client.config import SiteConfig
from client.rounds import answer
from client.sums import Sum
from client.training import train_locally
from federation.config import StudyConfig
from federation.messages import Instruction
from federation.schedule import derive_seed, trained_tensors
from federation.stages import FullStage, LocalTraining, LoraStage
from model.adapter import attach, initial_adapter, load
from model.arrays import Arrays, digest_arrays
from model.checkpoint import load_arrays_into
from model.conditioning import Schema
from model.tensor_file import TensorFile, copy_tensors
from model.tensors import Tensors, as_tensors
from model.transformer import RectifiedFlowTransformer
from server.rounds import run_study
from server.sites import Answered, Event
from server.store import StudyStore
from simulation.in_process import InProcess

LOCAL = LocalTraining(local_steps=2, batch_size=2, learning_rate=1e-3)
FULL = FullStage(kind="full", num_rounds=2, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=2, local=LOCAL, rank=2, alpha=2.0)


@pytest.fixture
def site(make_hospital: Callable[..., SiteConfig], memory_path: Path) -> SiteConfig:
    return make_hospital(memory_path)


def local_study(study: StudyConfig, site: SiteConfig, start: Callable[[int], Arrays]) -> Arrays:
    """The whole study at one hospital, without a federation."""
    records = open_cache(cache_path(site)).at_site(None)
    weights: Arrays = {}
    base: Arrays = {}
    moments: Arrays = {}
    for number in range(1, study.num_rounds + 1):
        index, stage = study.stage_of(number)
        if number == study.first_round_of(index):
            base, weights, moments = weights, start(index), {}
        network = RectifiedFlowTransformer(study.model_config, Schema(study.findings))
        model: torch.nn.Module = network
        if isinstance(stage, FullStage):
            load_arrays_into(network, weights)
        else:
            load_arrays_into(network, base)
            model = attach(network, stage.adapter, torch.Generator())
            load(model, weights)
        continues = isinstance(stage, FullStage) or stage.rule == "alternate"
        result = train_locally(
            model,
            trained_tensors(study, number, frozenset(weights)),
            records,
            stage.local,
            seed=derive_seed(study, site.site_name, number),
            optimizer_state=moments if continues else {},
        )
        moments = result.optimizer_state
        weights = dict(Sum(as_tensors(weights), as_tensors(result.change)))
    return weights


@pytest.mark.parametrize(
    "stages",
    [
        (replace(FULL, num_rounds=3),),
        (FULL, replace(LORA, rule="product-svd")),
        (replace(FULL, num_rounds=1), replace(LORA, rule="alternate", num_rounds=4)),
    ],
    ids=["full", "product-svd", "alternate"],
)
def test_a_federation_of_one_hospital_is_local_training_bit_for_bit(
    study_of: Callable[..., StudyConfig],
    site: SiteConfig,
    memory_path: Path,
    random_weights: Arrays,
    stages: tuple[FullStage | LoraStage, ...],
) -> None:
    study = study_of(*stages, num_sites=1, min_sites=1)

    def start(index: int) -> Arrays:
        if index == 0:
            return random_weights
        return initial_adapter(study.model_config, LORA.adapter, torch.Generator().manual_seed(9))

    def ask(instruction: Instruction) -> Iterator[Event]:
        yield Answered(site=site.site_name, answer=answer(site, instruction))

    store = StudyStore.create(memory_path / "coordinator", study)

    def written(_: StudyConfig, index: int, __: Tensors | None, path: Path) -> TensorFile:
        copy_tensors(path, start(index))
        return TensorFile(path)

    state = run_study(store, InProcess(ask), written)
    local = local_study(study, site, start)
    assert digest_arrays(state.weights) == digest_arrays(local)
    assert digest_arrays(local) != digest_arrays(start(len(stages) - 1))

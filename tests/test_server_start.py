"""The weights that a stage starts from."""

from collections.abc import Callable

import numpy as np

from federation.config import FullStage, LocalTraining, LoraStage, StudyConfig
from model.adapter import adapter_shapes
from model.arrays import Arrays, digest_arrays
from model.checkpoint import network_shapes
from model.conditioning import Schema
from server.start import starting_weights

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=1, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=1, local=LOCAL, rank=2, alpha=2.0)


def test_a_study_starts_from_weights_that_its_seed_fixes(study_of: StudyOf) -> None:
    one, two = (starting_weights(study_of(FULL, seed=1), 0, {}) for _ in range(2))
    other = starting_weights(study_of(FULL, seed=2), 0, {})
    assert digest_arrays(one) == digest_arrays(two)
    assert digest_arrays(one) != digest_arrays(other)
    shapes = {name: tensor.shape for name, tensor in one.items()}
    assert shapes == network_shapes(study_of(FULL).model_config, Schema())


def test_a_further_full_stage_goes_on_from_the_one_before(
    study_of: StudyOf, random_weights: Arrays
) -> None:
    assert starting_weights(study_of(FULL, FULL), 1, random_weights) is random_weights


def test_an_adapter_starts_without_effect(study_of: StudyOf, random_weights: Arrays) -> None:
    study = study_of(FULL, LORA)
    adapter = starting_weights(study, 1, random_weights)
    shapes = {name: tensor.shape for name, tensor in adapter.items()}
    assert shapes == adapter_shapes(study.model_config, LORA.adapter)
    assert all(np.any(tensor) == (".lora_A." in name) for name, tensor in adapter.items())

"""What a federation is compared with: training alone equals the plain loop, and losses can be compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from client.cache.records import Records, join, open_cache
from client.config import SiteConfig
from client.training import train_locally
from federation.config import StudyConfig
from federation.schedule import derive_seed
from federation.stages import FullStage, LocalTraining, OuterStep
from model.arrays import Arrays, load_arrays
from simulation.alone import (
    Alternative,
    build_network,
    fresh_weights,
    keep_trained,
    loss_on,
    train_alone,
)

StudyOf = Callable[..., StudyConfig]
Hospital = Callable[..., SiteConfig]
LOCAL = LocalTraining(local_steps=2, batch_size=2, learning_rate=1e-3)
STAGE = FullStage(kind="full", num_rounds=2, local=LOCAL)


@pytest.fixture
def records(make_hospital: Hospital, tmp_path: Path) -> Records:
    return open_cache(make_hospital(tmp_path, num_records=8).state_path / "cache")


def assert_same(one: Arrays, other: Arrays) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def by_hand(study: StudyConfig, records: Records, *, forget_after: int) -> Arrays:
    """Round after round, each a change on top of the last; the optimizer forgets after one of them."""
    weights = fresh_weights(study)
    state: Arrays = {}
    for number in range(1, study.num_rounds + 1):
        _, stage = study.stage_of(number)
        result = train_locally(
            build_network(study, weights),
            frozenset(weights),
            records,
            stage.local,
            seed=derive_seed(study, "a", number),
            optimizer_state=state,
        )
        weights = {name: weights[name] + result.change[name] for name in weights}
        state = {} if number == forget_after else dict(result.optimizer_state)
    return weights


def test_training_alone_is_the_plain_loop(study_of: StudyOf, records: Records) -> None:
    study = study_of(STAGE)
    assert_same(train_alone(study, records, "a"), by_hand(study, records, forget_after=0))


def test_a_new_stage_begins_with_a_fresh_optimizer_and_the_weights_so_far(
    study_of: StudyOf, records: Records
) -> None:
    one = FullStage(kind="full", num_rounds=1, local=LOCAL)
    study = study_of(one, one)
    assert_same(train_alone(study, records, "a"), by_hand(study, records, forget_after=1))


def test_alone_there_is_no_outer_step_and_no_adapter(
    study_of: StudyOf, records: Records, mini_plan: Callable[..., Any]
) -> None:
    plain = FullStage(kind="full", num_rounds=1, local=LOCAL)
    momentum = OuterStep(learning_rate=0.7, momentum=0.9)
    outer = FullStage(kind="full", num_rounds=1, local=LOCAL, outer=momentum)
    lora = mini_plan().study.stages[1]
    assert_same(
        train_alone(study_of(plain), records, "a"), train_alone(study_of(outer, lora), records, "a")
    )


def test_kept_weights_are_the_trained_ones(
    study_of: StudyOf, make_hospital: Hospital, tmp_path: Path
) -> None:
    study = study_of(FullStage(kind="full", num_rounds=1, local=LOCAL))
    caches = [make_hospital(tmp_path, name).state_path / "cache" for name in "ab"]
    path = tmp_path / "alone" / "pooled.safetensors"
    members = [(caches[0], 3), (caches[1], None)]
    keep_trained(Alternative(study=study, caches=members, name="pooled", path=path))
    both = join([open_cache(cache).at_site(n) for cache, n in zip(caches, (3, None), strict=True)])
    assert_same(load_arrays(path), train_alone(study, both, "pooled"))


def test_two_networks_are_measured_with_the_same_noise(
    study_of: StudyOf, records: Records, random_weights: Arrays
) -> None:
    study = study_of(STAGE)
    network = build_network(study, random_weights)
    loss = loss_on(network, records, seed=3)
    assert loss_on(build_network(study, random_weights), records, seed=3) == loss
    assert loss_on(network, records, seed=4) != loss


def test_every_record_counts_once_whatever_the_batches(records: Records) -> None:
    class Mark(nn.Module):
        """Counts the records it is shown."""

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
            self.seen.append(noisy.shape[0])
            return noisy

    for batch_size, sizes in ((32, [8]), (4, [4, 4]), (3, [3, 3, 2]), (1, [1] * 8)):
        network = Mark()
        loss_on(network, records, seed=3, batch_size=batch_size)
        assert network.seen == sizes


def test_the_mean_weighs_a_short_batch_by_its_records(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def share_of_first(_network: nn.Module, batch: tuple[Tensor, Tensor], *, seed: int) -> float:  # noqa: ARG001
        return float(batch[0].mean())

    monkeypatch.setattr("simulation.alone.mean_loss", share_of_first)
    expected = float(records.batch(np.arange(8))[0].mean())
    for batch_size in (8, 5, 3):
        loss = loss_on(nn.Identity(), records, seed=0, batch_size=batch_size)
        assert loss == pytest.approx(expected, rel=1e-5)


def test_each_batch_has_noise_of_its_own(records: Records) -> None:
    levels: list[Tensor] = []

    class Listen(nn.Module):
        """Keeps the noise levels."""

        def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
            levels.append(t.flatten())
            return noisy

    loss_on(Listen(), records, seed=3, batch_size=4)
    assert not torch.equal(levels[0], levels[1])

"""Private training at a hospital: whose radiographs a step sees, and what leaves of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.cache.layout import cache_path
from client.cache.records import open_cache
from client.config import SiteConfig, TrainingMachine
from client.made_up_patients import MadeUpLoss
from client.patient_batches import PatientLoss, training_patients
from client.preparation import prepare
from client.private_training import clipper_on, mechanism_of, train_privately
from client.training import LocalResult
from client.training_records import TrainingRecords
from federation.privacy_terms import PrivacyTerms
from federation.stages import LocalTraining
from model.adapter import adapter_parameters, attach
from model.arrays import Arrays
from model.checkpoint import load_arrays_into, network_arrays
from model.conditioning import Schema
from model.config import AdapterConfig, model_config
from model.flow import Draws, draw_noise, drawn_loss, flow_loss
from model.transformer import RectifiedFlowTransformer
from privacy.training.checks import NotPrivate
from privacy.training.entropy import SystemEntropy
from privacy.training.gradients import Ghost, Materialised

IMAGE_SIZE = 16
TERMS = PrivacyTerms(noise_multiplier=1.0, sample_rate=0.5, max_grad_norm=0.1, max_images=2)
LOCAL = LocalTraining(local_steps=2, batch_size=4, learning_rate=1e-3, num_draws=2, privacy=TERMS)


@dataclass(kw_only=True, slots=True)
class Watched:
    """Records that note what is read of them."""

    patients: NDArray[np.uint64]
    held_out: NDArray[np.bool_]
    read: list[NDArray[np.integer]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.patients)

    def batch(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Pictures whose every pixel is the record's number."""
        self.read.append(indices)
        numbers = torch.from_numpy(indices.astype(np.float32))
        pictures = numbers[:, None, None, None].expand(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
        return pictures, torch.from_numpy(np.tile(Schema().null_row(), (len(indices), 1)))


class Seeing(nn.Module):
    """Notes the pictures it is shown, which noise at t = 0 leaves as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.noisy: list[Tensor] = []

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """An all-grey picture."""
        assert noisy.shape[:2] == t.shape == condition.shape[:2]
        self.noisy.append(noisy)
        return torch.zeros_like(noisy)


class Counting(SystemEntropy):
    """The system's, and how much noise was drawn; everyone's coin may be told."""

    def __init__(self, coin: float | None = None) -> None:
        super().__init__()
        self.coin, self.num_normal = coin, 0

    def normal(self, count: int) -> NDArray[np.float64]:
        """Of the system."""
        self.num_normal += count
        return super().normal(count)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """The coin, or the system's."""
        return super().uniform(count) if self.coin is None else np.full(count, self.coin)


def watched() -> Watched:
    """Patients with 1, 10, 2 and 3 radiographs, and one who is held out."""
    patients = np.repeat(np.arange(5, dtype=np.uint64), [1, 10, 2, 3, 4])
    return Watched(patients=patients, held_out=patients == 4)


def patient_loss(network: nn.Module, records: TrainingRecords, *, max_images: int) -> PatientLoss:
    return PatientLoss(
        network=network,
        records=records,
        groups=training_patients(records),
        local=LOCAL,
        max_images=max_images,
        entropy=SystemEntropy(),
    )


def test_a_patient_is_one_however_many_radiographs_they_have() -> None:
    records = watched()
    groups = training_patients(records)
    assert [len(group) for group in groups] == [1, 10, 2, 3]
    assert patient_loss(Seeing(), records, max_images=3)(np.arange(4)).shape == (4,)


def test_a_step_reads_at_most_so_many_radiographs_of_a_patient_and_each_once() -> None:
    records = watched()
    patient_loss(Seeing(), records, max_images=3)(np.arange(4))
    (read,) = records.read
    assert len(set(read)) == len(read)
    _, counts = np.unique(records.patients[read], return_counts=True)
    assert counts.tolist() == [1, 3, 2, 3]


def test_no_place_of_a_patient_is_empty_and_radiographs_share_them_evenly() -> None:
    loss = patient_loss(Seeing(), watched(), max_images=3)
    for group, times in zip(loss.groups, ([6], [2, 2, 2], [3, 3], [2, 2, 2]), strict=True):
        _, counts = np.unique(loss._places(group), return_counts=True)  # noqa: SLF001  what the step shows
        assert counts.tolist() == times


def test_every_radiograph_of_a_patient_has_its_turn() -> None:
    loss = patient_loss(Seeing(), watched(), max_images=2)
    seen = {int(place) for _ in range(100) for place in loss._places(loss.groups[1])}  # noqa: SLF001
    assert seen == set(loss.groups[1].tolist())


def test_held_out_patients_are_never_read() -> None:
    records = watched()
    loss = patient_loss(Seeing(), records, max_images=10)
    loss(np.arange(len(loss.groups)))
    assert not records.held_out[np.concatenate(records.read)].any()


def test_a_patients_loss_is_the_mean_over_their_own_places() -> None:
    network = Seeing()
    losses = patient_loss(network, watched(), max_images=2)(np.array([0, 3]))
    assert [tuple(noisy.shape) for noisy in network.noisy] == [(2, 4, 1, IMAGE_SIZE, IMAGE_SIZE)]
    assert losses[1] > 10 * losses[0]  # pictures of 13 and more, and of 0


def test_the_loss_of_several_radiographs_is_the_mean_of_their_losses() -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 1, 8, 8, generator=generator)
    condition = torch.arange(6.0).reshape(2, 3, 1)
    draws = draw_noise((2, 1, 8, 8), 3, 8, generator)

    def network(noisy: Tensor, _t: Tensor, condition: Tensor) -> Tensor:
        return noisy * condition[..., None, None]

    one_by_one = [
        flow_loss(
            network,
            image[:, place],
            condition[:, place],
            Draws(t=draws.t[:, [place]], noise=draws.noise[:, [place]]),
        )
        for place in range(3)
    ]
    found = drawn_loss(network, image, condition, draws)
    torch.testing.assert_close(found, torch.stack(one_by_one).mean(dim=0))


def test_noise_and_hidden_attributes_are_drawn_anew_every_time() -> None:
    network = Seeing()
    loss = patient_loss(network, watched(), max_images=2)
    assert not torch.equal(loss(np.array([1])), loss(np.array([1])))


@pytest.fixture
def records(make_hospital: Callable[..., SiteConfig], memory_path: Path) -> TrainingRecords:
    return open_cache(cache_path(make_hospital(memory_path)))


def whole(weights: Arrays) -> RectifiedFlowTransformer:
    network = RectifiedFlowTransformer(model_config("tiny", IMAGE_SIZE), Schema())
    load_arrays_into(network, weights)
    return network


def with_adapter(weights: Arrays) -> nn.Module:
    return attach(whole(weights), AdapterConfig(rank=2, alpha=2.0), torch.Generator())


def names(network: nn.Module) -> frozenset[str]:
    """Of everything that trains."""
    return frozenset(adapter_parameters(network) or dict(network.named_parameters()))


def trained(
    network: nn.Module,
    records: TrainingRecords,
    local: LocalTraining,
    entropy: Counting | None = None,
) -> LocalResult:
    return train_privately(
        network, names(network), records, local, optimizer_state={}, entropy=entropy
    )


class Told(Counting):
    """The same noise for everyone who asks for it, and nobody drawn."""

    def __init__(self) -> None:
        super().__init__(coin=1.0)
        self._rng = np.random.default_rng(1)

    def normal(self, count: int) -> NDArray[np.float64]:
        """Of a known seed, as no hospital has it."""
        return self._rng.standard_normal(count)


def test_what_draws_back_is_added_after_the_noise_and_is_neither_clipped_nor_noised(
    random_weights: Arrays, records: TrainingRecords
) -> None:
    plain = replace(LOCAL, optimizer="sgd", learning_rate=0.01)
    drawn, free, first = (
        trained(
            with_adapter(random_weights),
            records,
            replace(plain, local_steps=steps, proximal=weight),
            Told(),
        ).change
        for steps, weight in ((2, 20.0), (2, 0.0), (1, 20.0))
    )
    for name, moved in first.items():
        pull = drawn[name] - free[name]
        np.testing.assert_allclose(pull, -0.01 * 20.0 * moved, atol=1e-7, rtol=0)
        assert np.abs(pull).max() > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("build", [whole, with_adapter])
def test_a_round_moves_what_trains_and_two_of_one_configuration_differ(
    build: Callable[[Arrays], nn.Module], random_weights: Arrays, records: TrainingRecords
) -> None:
    first, second = (trained(build(random_weights), records, LOCAL) for _ in range(2))
    assert first.change.keys() == names(build(random_weights))
    for name, change in first.change.items():
        assert np.isfinite(change).all()
        assert change.any()
        assert change.dtype == np.float32
        assert not np.array_equal(change, second.change[name])
    assert np.isnan(first.loss)
    assert first.optimizer_state


def test_what_is_frozen_stays_as_it_came(random_weights: Arrays, records: TrainingRecords) -> None:
    network = whole(random_weights)
    train_privately(network, frozenset({"head.weight"}), records, LOCAL, optimizer_state={})
    after = network_arrays(network)
    assert {name for name in after if not np.array_equal(after[name], random_weights[name])} == {
        "head.weight"
    }


@pytest.mark.parametrize("coin", [0.49, 0.51])
def test_every_step_has_noise_on_every_number_whoever_was_drawn(
    coin: float, random_weights: Arrays, records: TrainingRecords
) -> None:
    network, entropy = with_adapter(random_weights), Counting(coin)
    trained(network, records, replace(LOCAL, local_steps=3), entropy)
    size = sum(part.numel() for part in adapter_parameters(network).values())
    assert entropy.num_normal == 3 * size


@pytest.mark.parametrize(("coin", "num_read"), [(0.49, 4), (0.51, 0)])
def test_patients_are_drawn_at_the_rate_of_the_terms(
    coin: float, num_read: int, random_weights: Arrays
) -> None:
    watching = watched()
    local = replace(LOCAL, local_steps=1, privacy=replace(TERMS, max_images=1))
    trained(with_adapter(random_weights), watching, local, Counting(coin))
    assert sum(map(len, watching.read)) == num_read


def test_the_mechanism_is_what_the_terms_say() -> None:
    terms = replace(TERMS, loss_noise_multiplier=3.0, max_loss=2.0)
    mechanism = mechanism_of(replace(LOCAL, privacy=terms))
    assert mechanism.loss is not None
    assert (mechanism.noise_multiplier, mechanism.sample_rate) == (1.0, 0.5)
    assert (mechanism.max_grad_norm, mechanism.batch_size) == (0.1, LOCAL.batch_size)
    assert (mechanism.loss.noise_multiplier, mechanism.loss.max_loss) == (3.0, 2.0)


def test_a_loss_leaves_only_where_the_terms_pay_for_it(
    random_weights: Arrays, records: TrainingRecords
) -> None:
    terms = replace(TERMS, sample_rate=1.0, loss_noise_multiplier=0.001, max_loss=0.1)
    local = replace(LOCAL, local_steps=1, privacy=terms)
    result = trained(with_adapter(random_weights), records, local)
    assert result.loss == pytest.approx(0.1, abs=0.002)  # every patient's is above the bound


@pytest.mark.parametrize("adapted", [False, True])
def test_a_network_that_recomputes_trains_privately(
    random_weights: Arrays, records: TrainingRecords, *, adapted: bool
) -> None:
    network = with_adapter(random_weights) if adapted else whole(random_weights)
    prepare(network, TrainingMachine(recompute=True))
    result = trained(network, records, replace(LOCAL, local_steps=1))
    assert all(change.any() for change in result.change.values())


def test_a_hospital_without_training_patients_sends_noise(random_weights: Arrays) -> None:
    empty = Watched(patients=np.zeros(3, np.uint64), held_out=np.ones(3, bool))
    result = trained(with_adapter(random_weights), empty, LOCAL)
    assert all(change.any() for change in result.change.values())
    assert not empty.read


def test_an_adapter_is_clipped_by_gradients_and_a_whole_network_by_norms(
    random_weights: Arrays,
) -> None:
    assert isinstance(clipper_on(whole(random_weights)), Ghost)
    assert isinstance(clipper_on(with_adapter(random_weights)), Materialised)


def test_a_round_that_cannot_be_private_is_refused_before_a_radiograph_is_read(
    random_weights: Arrays,
) -> None:
    watching = watched()
    with pytest.raises(NotPrivate, match="no terms of privacy"):
        trained(whole(random_weights), watching, replace(LOCAL, privacy=None))
    rounded = replace(LOCAL)
    object.__setattr__(rounded, "precision", "bf16")  # no study of this release says so
    with pytest.raises(NotPrivate, match="precision is bf16"):
        trained(whole(random_weights), watching, rounded)
    assert not watching.read


def test_made_up_patients_have_the_same_loss_in_any_company(random_weights: Arrays) -> None:
    network = whole(random_weights)
    loss = MadeUpLoss(network=network, transformer=network, num_places=2)
    together = loss(np.arange(3))
    alone = torch.cat([loss(np.array([patient])) for patient in range(3)])
    torch.testing.assert_close(together, alone)
    assert len(set(together.tolist())) == 3

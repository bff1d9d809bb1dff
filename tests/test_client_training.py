"""Local training: its law, its reproducibility, and what it must never touch."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.batches import Share, batches, patient_groups, whole_batch
from client.cache.images import Images
from client.cache.layout import cache_path
from client.cache.records import Records, open_cache
from client.config import SiteConfig, TrainingMachine
from client.losses import SEEN_AT_ONCE, held_out_loss, mean_loss
from client.optimizer import make_optimizer, save_optimizer
from client.preparation import prepare
from client.tally import Tally
from client.training import LocalResult, run_steps, step, train_locally
from federation.stages import Combination, LocalTraining
from model.adapter import adapter_parameters, attach
from model.arrays import Arrays, digest_arrays
from model.checkpoint import load_arrays_into, network_arrays
from model.conditioning import FINDINGS, Schema
from model.config import AdapterConfig, model_config
from model.flow import Draws, draw_noise, flow_loss
from model.streaming import frozen_network
from model.tensors import as_tensors, pieces_of
from model.tokens import drop_attributes
from model.transformer import RectifiedFlowTransformer
from server.aggregation.combine import combined
from server.aggregation.outer import add
from server.aggregation.shares import site_shares

IMAGE_SIZE = 16
SGD = LocalTraining(
    local_steps=1,
    batch_size=4,
    learning_rate=0.002,
    optimizer="sgd",
    max_grad_norm=1e9,
    drop_each=0.0,
    drop_all=0.0,
)
ADAMW = LocalTraining(local_steps=2, batch_size=4, learning_rate=1e-3)
Batch = tuple[Tensor, Tensor]


def network_of(weights: Arrays) -> RectifiedFlowTransformer:
    network = RectifiedFlowTransformer(model_config("tiny", IMAGE_SIZE), Schema())
    load_arrays_into(network, weights)
    return network


def batch_of(num_records: int, *, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_records, 1, IMAGE_SIZE, IMAGE_SIZE)
    condition = torch.from_numpy(np.tile(Schema().null_row(), (num_records, 1)))
    return torch.rand(shape, generator=generator) * 2 - 1, condition


def records_of(patients: list[int], held_out: list[bool]) -> Records:
    """Records whose only difference is their patient."""
    num_records = len(patients)
    return Records(
        images=Images([], np.zeros((num_records, 2), np.uint32), IMAGE_SIZE),
        rows=np.tile(Schema().null_row(), (num_records, 1)),
        patients=np.array(patients, np.uint64),
        held_out=np.array(held_out),
        findings=FINDINGS,
        tally=Tally(num_files=0, num_usable=0, refused={}, num_patients=0, num_held_out=0),
    )


@pytest.fixture
def records(make_hospital: Callable[..., SiteConfig], memory_path: Path) -> Records:
    return open_cache(cache_path(make_hospital(memory_path)))


def trained(
    weights: Arrays, records: Records, local: LocalTraining = ADAMW, *, seed: int = 1
) -> LocalResult:
    return train_locally(
        network_of(weights), frozenset(weights), records, local, seed=seed, optimizer_state={}
    )


def one_step(weights: Arrays, batch: Batch, *, seed: int) -> Arrays:
    """The change of one plain step at one hospital."""
    network = network_of(weights)
    optimizer = make_optimizer(dict(network.named_parameters()), SGD, {})
    step(network, optimizer, whole_batch(batch), SGD, torch.Generator().manual_seed(seed))
    after = network_arrays(network)
    return {name: after[name] - weights[name] for name in weights}


def draws_of(batch: Batch, *, seed: int) -> Draws:
    """The draws that `step` makes for this batch."""
    image, condition = batch
    generator = torch.Generator().manual_seed(seed)
    drop_attributes(condition, p_each=0.0, p_all=0.0, generator=generator)
    return draw_noise(tuple(image.shape), 1, IMAGE_SIZE, generator)


def central_step(weights: Arrays, batches: dict[str, Batch]) -> Arrays:
    """Weights after one plain step on all batches together."""
    network = network_of(weights)
    seeds = {site: number for number, site in enumerate(batches)}
    draws = [draws_of(batch, seed=seeds[site]) for site, batch in batches.items()]
    together = Draws(
        t=torch.cat([each.t for each in draws]), noise=torch.cat([each.noise for each in draws])
    )
    images, conditions = zip(*batches.values(), strict=True)
    loss = flow_loss(network, torch.cat(images), torch.cat(conditions), together).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter.sub_(SGD.learning_rate * parameter.grad)
    return network_arrays(network)


def test_a_second_step_is_drawn_back_by_what_the_first_one_moved(
    random_weights: Arrays, records: Records
) -> None:
    """FedProx: the gradient of weight / 2 * |w - received|^2 joins the loss's, before both are clipped together."""
    drawn, free, first = (
        trained(random_weights, records, replace(SGD, local_steps=steps, proximal=weight)).change
        for steps, weight in ((2, 10.0), (2, 0.0), (1, 10.0))
    )
    for name, moved in first.items():
        pull = drawn[name] - free[name]
        np.testing.assert_allclose(pull, -SGD.learning_rate * 10.0 * moved, atol=1e-7, rtol=0)
    assert max(np.abs(drawn[name] - free[name]).max() for name in first) > 1e-5


def test_what_draws_back_is_clipped_with_the_gradient(
    random_weights: Arrays, records: Records
) -> None:
    bounded = replace(SGD, local_steps=2, max_grad_norm=1e-3, proximal=1e9)
    change = trained(random_weights, records, bounded).change
    length = np.sqrt(sum(np.square(tensor, dtype=float).sum() for tensor in change.values()))
    assert length <= 2 * SGD.learning_rate * 1e-3 * 1.01


@pytest.mark.parametrize(("sizes", "weighting"), [((4, 4, 4), "uniform"), ((2, 3, 7), "records")])
def test_one_plain_step_at_every_hospital_is_one_step_on_all_their_records(
    random_weights: Arrays, sizes: tuple[int, ...], weighting: str
) -> None:
    batches = {f"site-{n}": batch_of(size, seed=n) for n, size in enumerate(sizes)}
    changes = {
        site: as_tensors(one_step(random_weights, batch, seed=number))
        for number, (site, batch) in enumerate(batches.items())
    }
    records = dict(zip(batches, sizes, strict=True))
    shares = site_shares(records, weighting=weighting)
    mean = combined(Combination(), changes, shares)
    shapes = as_tensors(random_weights).shapes
    movement = {
        piece.name: mean(piece).reshape(shapes[piece.name])
        for piece in pieces_of(shapes, max_values=10**9)
    }
    federated = add(random_weights, movement)
    central = central_step(random_weights, batches)
    for name in random_weights:
        np.testing.assert_allclose(federated[name], central[name], atol=1e-6, rtol=0)
    moved = max(float(abs(central[name] - random_weights[name]).max()) for name in central)
    assert moved > 1e-3


def test_the_same_arguments_give_the_same_bits(random_weights: Arrays, records: Records) -> None:
    one, two, other = (trained(random_weights, records, seed=seed) for seed in (1, 1, 2))
    assert digest_arrays(one.change) == digest_arrays(two.change)
    assert digest_arrays(one.optimizer_state) == digest_arrays(two.optimizer_state)
    assert one.loss == two.loss
    assert digest_arrays(one.change) != digest_arrays(other.change)


def test_the_change_is_after_minus_before(random_weights: Arrays, records: Records) -> None:
    network = network_of(random_weights)
    result = train_locally(
        network, frozenset(random_weights), records, ADAMW, seed=1, optimizer_state={}
    )
    for name, after in network_arrays(network).items():
        np.testing.assert_array_equal(result.change[name], after - random_weights[name])
    assert any(change.any() for change in result.change.values())


def test_only_the_named_tensors_move(random_weights: Arrays, records: Records) -> None:
    network = network_of(random_weights)
    names = frozenset({"head.weight", "blocks.0.qkv.weight"})
    result = train_locally(network, names, records, ADAMW, seed=1, optimizer_state={})
    after = network_arrays(network)
    moved = {name for name in after if after[name].tobytes() != random_weights[name].tobytes()}
    assert moved == result.change.keys() == names


def test_only_the_named_factor_of_an_adapter_moves(
    random_weights: Arrays, records: Records
) -> None:
    network = attach(
        network_of(random_weights), AdapterConfig(rank=2, alpha=2.0), torch.Generator()
    )
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    factors = frozenset(name for name in adapter_parameters(network) if ".lora_B." in name)
    result = train_locally(network, factors, records, ADAMW, seed=1, optimizer_state={})
    moved = {
        name for name, value in network.named_parameters() if not torch.equal(value, before[name])
    }
    assert result.change.keys() == factors
    assert len(moved) == len(factors)
    assert all(".lora_B." in name for name in moved)


def test_the_optimizer_goes_on_where_it_was_saved(random_weights: Arrays) -> None:
    steps = [batch_of(2, seed=number) for number in range(4)]

    def run(network: nn.Module, state: Arrays, numbers: range) -> Arrays:
        parameters = dict(network.named_parameters())
        optimizer = make_optimizer(parameters, ADAMW, state)
        for number in numbers:
            step(
                network,
                optimizer,
                whole_batch(steps[number]),
                ADAMW,
                torch.Generator().manual_seed(number),
            )
        return {name: value.copy() for name, value in save_optimizer(parameters, optimizer).items()}

    straight, interrupted = network_of(random_weights), network_of(random_weights)
    run(straight, {}, range(4))
    state = run(interrupted, {}, range(2))
    resumed = network_of(network_arrays(interrupted))
    run(resumed, state, range(2, 4))
    assert digest_arrays(network_arrays(resumed)) == digest_arrays(network_arrays(straight))


def test_moments_of_tensors_that_rest_are_handed_on(
    random_weights: Arrays, records: Records
) -> None:
    first = train_locally(
        network_of(random_weights),
        frozenset({"head.weight"}), records, ADAMW, seed=1, optimizer_state={},
    )  # fmt: skip
    second = train_locally(
        network_of(random_weights),
        frozenset({"head.bias"}), records, ADAMW, seed=1, optimizer_state=first.optimizer_state,
    )  # fmt: skip
    for key in ("step", "exp_avg", "exp_avg_sq"):
        name = f"{key}|head.weight"
        assert second.optimizer_state[name].tobytes() == first.optimizer_state[name].tobytes()
        assert f"{key}|head.bias" in second.optimizer_state


def test_plain_sgd_has_no_state(random_weights: Arrays, records: Records) -> None:
    assert trained(random_weights, records, SGD).optimizer_state == {}


def test_a_gradient_is_cut_to_its_largest_norm(random_weights: Arrays, records: Records) -> None:
    change = trained(
        random_weights, records, replace(SGD, max_grad_norm=1e-2, learning_rate=1.0)
    ).change
    norm = math.sqrt(
        sum(float(np.square(part, dtype=np.float64).sum()) for part in change.values())
    )
    assert norm == pytest.approx(1e-2, rel=1e-3)


def test_trained_tensors_stay_fp32_under_bf16(random_weights: Arrays, records: Records) -> None:
    result = trained(random_weights, records, replace(ADAMW, precision="bf16"))
    assert {tensor.dtype for tensor in result.change.values()} == {np.dtype(np.float32)}
    assert math.isfinite(result.loss)


@pytest.mark.parametrize("recompute", [False, True])
def test_an_adapter_on_matrices_in_half_precision_learns_the_same_bits(
    random_weights: Arrays, records: Records, monkeypatch: pytest.MonkeyPatch, *, recompute: bool
) -> None:
    monkeypatch.setattr("client.device.has_bf16", lambda _: True)  # slowly, where it has not
    local, adapter = replace(ADAMW, precision="bf16"), AdapterConfig(rank=2, alpha=2.0)

    def learn(matrices: torch.dtype) -> LocalResult:
        network = frozen_network(
            model_config("tiny", IMAGE_SIZE), Schema(), random_weights.items(), matrices=matrices
        )
        prepare(network, TrainingMachine(recompute=recompute))
        adapted = attach(network, adapter, torch.Generator())
        names = frozenset(adapter_parameters(adapted))
        assert {adapter_parameters(adapted)[name].dtype for name in names} == {torch.float32}
        assert math.isfinite(held_out_loss(adapted, records, seed=1))
        return train_locally(adapted, names, records, local, seed=1, optimizer_state={})

    lean, usual = learn(torch.bfloat16), learn(torch.float32)
    assert digest_arrays(lean.change) == digest_arrays(usual.change)
    assert any(change.any() for change in lean.change.values())


def test_the_loss_of_many_records_is_the_mean_over_them_all(random_weights: Arrays) -> None:
    network, batch = network_of(random_weights), batch_of(2 * SEEN_AT_ONCE + 3, seed=1)
    draws = draw_noise(tuple(batch[0].shape), 4, IMAGE_SIZE, torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = float(flow_loss(network, *batch, draws).mean())
    assert mean_loss(network, batch, seed=7) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("num_records", "of"), [(8, 2), (7, 3), (1, 2), (0, 2)])
def test_shares_cut_a_batch_into_parts_of_almost_the_same_size(num_records: int, of: int) -> None:
    parts = [Share(number=number, of=of).part(num_records) for number in range(of)]
    sizes = [len(range(num_records)[part]) for part in parts]
    assert [place for part in parts for place in range(num_records)[part]] == list(
        range(num_records)
    )
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("of", [2, 3])
def test_the_mean_gradient_of_all_shares_is_that_of_the_whole_batch(
    random_weights: Arrays, records: Records, of: int
) -> None:
    """Without clipping, so that plain SGD's change is the gradient."""
    whole = trained(random_weights, records, SGD)

    def part(number: int) -> tuple[float, Arrays]:
        network = network_of(random_weights)
        optimizer = make_optimizer(dict(network.named_parameters()), SGD, {})
        loss = run_steps(
            network, optimizer, records, SGD, seed=1, share=Share(number=number, of=of)
        )
        after = network_arrays(network)
        return loss, {name: after[name] - random_weights[name] for name in random_weights}

    parts = [part(number) for number in range(of)]
    assert sum(loss for loss, _ in parts) == pytest.approx(whole.loss, rel=1e-5)
    for name, change in whole.change.items():
        mean = np.mean([changes[name] for _, changes in parts], axis=0)
        np.testing.assert_allclose(mean, change, atol=2e-6, rtol=1e-4)


def drawn_indices(records: Records, local: LocalTraining) -> NDArray[np.int64]:
    """Which records the batches take."""
    seen: list[NDArray[np.integer]] = []

    class Watched(Records):
        """Notes what is asked of it."""

        __slots__ = ()

        def batch(self, indices: NDArray[np.integer]) -> Batch:
            """As the records that are watched."""
            seen.append(indices)
            return torch.zeros(0), torch.zeros(0)

    watched = Watched(**{name: getattr(records, name) for name in Records.__slots__})
    list(batches(watched, local, np.random.default_rng(0)))
    return np.concatenate(seen).astype(np.int64)


def test_held_out_patients_are_never_trained_on() -> None:
    records = records_of([1, 2, 2, 3], [False, True, True, False])
    drawn = drawn_indices(records, replace(SGD, local_steps=50))
    assert set(drawn.tolist()) == {0, 3}


def test_a_patient_with_many_radiographs_weighs_no_more_than_one_with_a_single_one() -> None:
    records = records_of([7] * 99 + [5], [False] * 100)
    drawn = drawn_indices(records, replace(SGD, local_steps=500))
    share = float((drawn == 99).mean())
    assert share == pytest.approx(0.5, abs=0.04)  # 4 standard deviations at 2000 draws
    assert len(set(drawn.tolist())) == 100


def test_the_groups_are_the_patients_of_the_training_part() -> None:
    records = records_of([9, 4, 9, 4, 1], [False, False, False, True, False])
    assert [group.tolist() for group in patient_groups(records)] == [[4], [1], [0, 2]]


def test_the_held_out_loss_compares_networks_on_the_same_draws(
    random_weights: Arrays, records: Records
) -> None:
    network = network_of(random_weights)
    one, two = (held_out_loss(network, records, seed=3) for _ in range(2))
    assert one == two
    assert one != held_out_loss(network, records, seed=4)
    assert digest_arrays(network_arrays(network)) == digest_arrays(random_weights)


def test_the_held_out_loss_sees_held_out_records_alone(records: Records) -> None:
    seen: list[tuple[int, ...]] = []

    class Watching(nn.Module):
        """Notes the shape of what it is shown."""

        def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
            """An all-grey picture."""
            seen.append(tuple(noisy.shape))
            return torch.zeros_like(noisy)

    held_out_loss(Watching(), records, seed=1)
    assert seen == [(int(records.held_out.sum()), 4, 1, IMAGE_SIZE, IMAGE_SIZE)]


def test_without_held_out_records_there_is_no_held_out_loss(random_weights: Arrays) -> None:
    records = records_of([1], [False])
    assert math.isnan(held_out_loss(network_of(random_weights), records, seed=1))

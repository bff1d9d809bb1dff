"""Sums of clipped gradients: what one patient can change, and that every way gives the same sum."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from model.adapter import attach
from model.conditioning import Schema
from model.config import AdapterConfig, ModelConfig
from model.flow import Draws, draw_noise, drawn_loss
from model.initial import initial_network
from model.transformer import RectifiedFlowTransformer
from privacy.training.checks import NotPrivate
from privacy.training.gradients import (
    Clipped,
    Clipper,
    Ghost,
    LossOf,
    Materialised,
    clipped_sum,
    clipping,
    trainable,
)
from privacy.training.linear_norms import (
    ghost_is_cheaper,
    ghost_norms,
    linear_norms,
    materialised_norms,
)

SIDE, MAX_IMAGES, NUM_DRAWS = 16, 3, 2
TOY = ModelConfig(
    size="toy",
    image_size=SIDE,
    patch_size=8,
    dim=16,
    depth=2,
    head_dim=8,
    hidden_dim=16,
    bottleneck_dim=8,
    num_registers=2,
    context_start=1,
)
WAYS = (Materialised, Ghost)
Way = Callable[[nn.Module], Clipper]


def toy(*, adapted: bool) -> nn.Module:
    """A whole network or one with an adapter of PEFT's, in which every layer has its say."""
    network: nn.Module = initial_network(TOY, Schema(), 0)
    if adapted:
        assert isinstance(network, RectifiedFlowTransformer)
        network = attach(network, AdapterConfig(rank=2, alpha=2.0), torch.Generator())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in network.parameters():
            part.add_(0.05 * torch.randn(part.shape, generator=generator))
    return network.train()


NETWORKS = {adapted: toy(adapted=adapted) for adapted in (False, True)}


def loss_of(network: nn.Module, num_images: Sequence[int], broken: int | None = None) -> LossOf:
    """Patients with so many images; a patient's choices depend on no other patient."""

    def of_one(patient: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(patient)
        images = torch.rand(num_images[patient], 1, SIDE, SIDE, generator=generator) * 2 - 1
        if patient == broken:
            images[0, 0, 0, 0] = torch.nan
        chosen = torch.randperm(len(images), generator=generator)[:MAX_IMAGES]
        places = torch.from_numpy(np.resize(chosen.numpy(), MAX_IMAGES * NUM_DRAWS))
        draws = draw_noise((1, 1, SIDE, SIDE), len(places), SIDE, generator)
        return images[places], draws.t[0], draws.noise[0]

    def losses(patients: NDArray[np.int64]) -> Tensor:
        image, t, noise = map(
            torch.stack, zip(*(of_one(int(number)) for number in patients), strict=True)
        )
        condition = torch.ones(*t.shape, len(Schema().names))
        return drawn_loss(network, image, condition, Draws(t=t, noise=noise))

    return losses


def flat(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient[name].flatten() for name in sorted(gradient)]).double()


def looped(network: nn.Module, losses: LossOf, patients: NDArray[np.int64]) -> list[Tensor]:
    """Each patient's gradient, as torch alone computes it."""
    parts = trainable(network)
    return [
        flat(
            dict(
                zip(
                    parts,
                    torch.autograd.grad(
                        losses(patients[[number]]).sum(),
                        list(parts.values()),
                        materialize_grads=True,
                    ),
                    strict=True,
                )
            )
        )
        for number in range(len(patients))
    ]


def summed(
    way: Way,
    network: nn.Module,
    losses: LossOf,
    patients: Sequence[int],
    bound: float,
    *,
    at_once: int = 8,
) -> Clipped:
    with clipping(network, way) as clipper:
        return clipped_sum(
            clipper, losses, np.array(patients, np.int64), max_grad_norm=bound, at_once=at_once
        )


@pytest.mark.slow
@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=12)
@given(
    num_images=st.lists(st.integers(1, 10), min_size=2, max_size=4),
    bound=st.floats(0.003, 3.0),
    data=st.data(),
)
def test_removing_a_patient_changes_the_sum_by_the_clipped_length_of_their_gradient(
    way: Way, num_images: list[int], bound: float, data: st.DataObject, *, adapted: bool
) -> None:
    network = NETWORKS[adapted]
    losses = loss_of(network, num_images)
    everyone = list(range(len(num_images)))
    removed = data.draw(st.sampled_from(everyone))
    rest = [patient for patient in everyone if patient != removed]
    whole = summed(way, network, losses, everyone, bound)
    change = (
        flat(whole.gradient) - flat(summed(way, network, losses, rest, bound).gradient)
    ).norm()
    norm = float(whole.norms[removed])
    rounding = 1e-5 * len(everyone) * min(bound, float(whole.norms.max()))  # of the sums, float32
    assert change <= bound + rounding
    assert float(change) == pytest.approx(min(norm, bound), abs=rounding)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_sum_that_a_loop_gives(way: Way, *, adapted: bool) -> None:
    network, patients = NETWORKS[adapted], np.arange(4)
    losses = loss_of(network, [1, 10, 2, 5])
    gradients = looped(network, losses, patients)
    norms = torch.stack([gradient.norm() for gradient in gradients])
    bound = float(norms.median())
    assert 0 < int((norms > bound).sum()) < 4
    expected = sum(
        min(1.0, bound / float(norm)) * gradient
        for norm, gradient in zip(norms, gradients, strict=True)
    )
    found = summed(way, network, losses, range(4), bound)
    torch.testing.assert_close(found.norms.double(), norms, rtol=1e-5, atol=0)
    error = (flat(found.gradient) - expected).norm() / torch.as_tensor(expected).norm()
    assert error < 1e-5
    torch.testing.assert_close(found.losses, losses(patients).detach(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_virtual_batches_change_nothing(way: Way, at_once: int) -> None:
    network = NETWORKS[True]
    losses = loss_of(network, [3, 1, 4, 1, 5])
    expected = flat(summed(way, network, losses, range(5), 0.1, at_once=5).gradient)
    found = flat(summed(way, network, losses, range(5), 0.1, at_once=at_once).gradient)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_no_more_patients_than_a_virtual_batch_holds_are_looked_at_together() -> None:
    network, seen = NETWORKS[True], list[int]()
    losses = loss_of(network, [1] * 7)

    def watched(patients: NDArray[np.int64]) -> Tensor:
        seen.append(len(patients))
        return losses(patients)

    summed(Materialised, network, watched, range(7), 1.0, at_once=3)
    assert seen == [3, 3, 1]


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_patient_whose_gradient_is_no_number_adds_nothing(way: Way, *, adapted: bool) -> None:
    network = NETWORKS[adapted]
    losses = loss_of(network, [2, 2, 2], broken=1)
    found = summed(way, network, losses, [0, 1, 2], 0.1)
    without = summed(way, network, losses, [0, 2], 0.1)
    assert not found.norms[1].isfinite()
    torch.testing.assert_close(flat(found.gradient), flat(without.gradient), rtol=1e-5, atol=1e-7)
    alone = summed(way, network, losses, [1], 0.1)
    assert not flat(alone.gradient).any()


@pytest.mark.parametrize("way", WAYS)
def test_nobody_adds_nothing(way: Way) -> None:
    network = NETWORKS[False]
    nobody = summed(way, network, loss_of(network, [1]), [], 1.0)
    assert not flat(nobody.gradient).any()
    assert len(nobody.norms) == len(nobody.losses) == 0


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_activation_checkpointing_changes_no_sum(way: Way, *, adapted: bool) -> None:
    network = toy(adapted=adapted)
    (transformer,) = (
        part for part in network.modules() if isinstance(part, RectifiedFlowTransformer)
    )
    losses = loss_of(network, [1, 4, 2])

    def recomputing(network: nn.Module) -> Clipper:
        clipper = way(network)
        transformer.recompute, transformer.first_pass = True, clipper.first_of_two_passes
        return clipper

    expected = summed(way, network, losses, range(3), 0.1)
    found = summed(recomputing, network, losses, range(3), 0.1)
    torch.testing.assert_close(found.norms, expected.norms, rtol=1e-5, atol=0)
    torch.testing.assert_close(flat(found.gradient), flat(expected.gradient), rtol=1e-5, atol=1e-7)


def test_activation_checkpointing_keeps_no_input_of_a_layer_between_its_two_passes() -> None:
    network = toy(adapted=False)
    assert isinstance(network, RectifiedFlowTransformer)
    losses = loss_of(network, [1, 1])
    inner = [part for part in network.blocks.modules() if isinstance(part, nn.Linear)]
    held: list[int] = []

    def watched(patients: NDArray[np.int64]) -> Tensor:
        computed = losses(patients)
        held.append(sum(bool(getattr(part, "activations", None)) for part in inner))
        return computed

    with clipping(network, Materialised) as clipper:
        clipper.clip(watched, np.arange(2), 1.0)
        network.recompute, network.first_pass = True, clipper.first_of_two_passes
        clipper.clip(watched, np.arange(2), 1.0)
    assert held == [len(inner), 0]


def test_a_network_is_left_as_it_was() -> None:
    network = toy(adapted=True)
    before = {name: set(vars(part)) for name, part in network.named_modules()}
    summed(Ghost, network, loss_of(network, [1, 1]), [0, 1], 1.0)
    assert {name: set(vars(part)) for name, part in network.named_modules()} == before
    assert not any(hasattr(part, "grad_sample") for part in network.parameters())
    assert not any(part._backward_hooks for part in network.modules())  # noqa: SLF001  what torch calls
    assert all(part.grad is None for part in network.parameters())


def test_a_layer_that_is_called_twice_is_refused() -> None:
    layer = nn.Linear(4, 4)
    given = torch.randn(3, 4)
    with pytest.raises(NotPrivate, match="called twice"):
        summed(Materialised, layer, lambda p: layer(layer(given[p])).sum(dim=1), range(3), 1.0)


def test_an_input_whose_first_axis_is_not_the_patient_is_refused() -> None:
    table = nn.Embedding(5, 4)
    with pytest.raises(NotPrivate, match="first axis"):
        summed(Materialised, table, lambda p: table(torch.arange(5)).sum().expand(3), range(3), 1.0)


def test_more_axes_than_three_are_refused_where_only_norms_are_computed() -> None:
    layer, given = nn.Linear(4, 2), torch.randn(3, 2, 5, 4)

    def losses(patients: NDArray[np.int64]) -> Tensor:
        result: Tensor = layer(given[patients]).square().flatten(1).mean(dim=1)
        return result

    with pytest.raises(NotPrivate, match="4 axes"):
        summed(Ghost, layer, losses, range(3), 1.0)
    assert summed(Materialised, layer, losses, range(3), 1.0).norms.isfinite().all()


def test_a_trained_layer_that_takes_no_part_is_refused() -> None:
    pair = nn.ModuleDict({"used": nn.Linear(4, 1), "unused": nn.Linear(4, 1)})
    given = torch.randn(3, 4)
    with pytest.raises(NotPrivate, match=r"unused\.weight"):
        summed(Ghost, pair, lambda p: pair["used"](given[p]).flatten(), range(3), 1.0)


def test_norms_are_computed_the_way_that_multiplies_less() -> None:
    assert ghost_is_cheaper(1, 384, 2304)
    assert not ghost_is_cheaper(284, 384, 384)


@pytest.mark.parametrize("num_tokens", [1, 3, 40])
def test_both_ways_give_the_norms_of_a_linear_layer(num_tokens: int) -> None:
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(3, num_tokens, 7, generator=generator)
    inputs = torch.randn(3, num_tokens, 5, generator=generator)
    expected = materialised_norms(outputs.double(), inputs.double()).float()
    torch.testing.assert_close(ghost_norms(outputs, inputs), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(materialised_norms(outputs, inputs), expected, rtol=1e-6, atol=0)


def test_a_norm_that_all_but_cancels_is_never_found_too_small() -> None:
    generator = torch.Generator().manual_seed(2)
    half = torch.randn(50, 20, 384, generator=generator)
    inputs = torch.randn(50, 20, 384, generator=generator)
    outputs = torch.cat([half, -half * (1 + 1e-4)], dim=1)
    inputs = torch.cat([inputs, inputs], dim=1)
    true = materialised_norms(outputs.double(), inputs.double())
    plain = (torch.bmm(outputs, outputs.mT) * torch.bmm(inputs, inputs.mT)).flatten(1).sum(dim=1)
    assert (plain.clamp_min(0).sqrt() < true).any()  # what the allowance is for
    assert (ghost_norms(outputs, inputs) >= true).all()


def test_norms_of_half_precision_are_computed_in_float32() -> None:
    layer = nn.Linear(64, 64, bias=False).bfloat16()
    inputs, outputs = (torch.randn(3, 100, 64).bfloat16() for _ in range(2))
    (norms,) = linear_norms(layer, [inputs], outputs).values()
    expected = materialised_norms(outputs.double(), inputs.double()).float()
    torch.testing.assert_close(norms, expected, rtol=1e-5, atol=0)


def test_without_hooks_nothing_surrounds_a_pass() -> None:
    assert initial_network(TOY, Schema(), 0).first_pass is nullcontext

"""The network: counted, shaped, reproducible, and without a path from one record to another."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.checkpoint import network_shapes
from model.conditioning import Metadata, Schema
from model.config import model_config
from model.flow import draw_noise, flow_loss
from model.initial import initial_network
from model.patches import patchify, unpatchify
from model.rope import rotate, rotation
from model.transformer import RectifiedFlowTransformer

CONFIG = model_config("tiny", 32)


def lively_network(seed: int = 0) -> RectifiedFlowTransformer:
    """A network whose gates and head are open."""
    network = initial_network(CONFIG, Schema(), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network


def inputs(num_records: int, num_draws: int, side: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    noisy = torch.randn(num_records, num_draws, 1, side, side, generator=generator)
    t = torch.rand(num_records, num_draws, generator=generator)
    condition = torch.randint(0, 3, (num_records, num_draws, 20), generator=generator).float()
    condition[..., 0] = 80 * t
    return noisy, t, condition


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("tiny", 589_408),
        ("small", 23_083_392),
        ("base", 119_882_240),
        ("large", 428_577_152),
        ("xl-1.3b", 1_336_646_656),
    ],
)
def test_every_size_has_the_number_of_parameters_in_its_design(size: str, count: int) -> None:
    shapes = network_shapes(model_config(size, 512), Schema())
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == count


def test_a_fresh_network_answers_grey() -> None:
    image = initial_network(CONFIG, Schema(), 1)(*inputs(2, 1))
    assert torch.count_nonzero(image) == 0


@pytest.mark.parametrize(("num_records", "num_draws", "side"), [(3, 1, 32), (2, 4, 32), (1, 2, 64)])
def test_the_answer_has_the_shape_of_the_question(
    num_records: int, num_draws: int, side: int
) -> None:
    noisy, t, condition = inputs(num_records, num_draws, side)
    assert lively_network()(noisy, t, condition).shape == noisy.shape


def test_an_empty_batch_passes_forward_and_backward() -> None:
    network = lively_network()
    loss = network(*inputs(0, 2)).sum()
    loss.backward()
    assert float(network.head.weight.grad.abs().max()) == 0.0  # type: ignore[union-attr]


def test_records_do_not_see_each_other() -> None:
    network = lively_network()
    noisy, t, condition = inputs(4, 2)
    order = torch.tensor([2, 0, 3, 1])
    together = network(noisy, t, condition)
    permuted = network(noisy[order], t[order], condition[order])
    torch.testing.assert_close(permuted, together[order], atol=1e-5, rtol=1e-5)
    alone = network(noisy[:1], t[:1], condition[:1])
    torch.testing.assert_close(alone, together[:1], atol=1e-5, rtol=1e-5)


def test_draws_do_not_see_each_other() -> None:
    network = lively_network()
    noisy, t, condition = inputs(2, 3)
    together = network(noisy, t, condition)
    alone = network(noisy[:, 1:2], t[:, 1:2], condition[:, 1:2])
    torch.testing.assert_close(alone, together[:, 1:2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attribute", range(20))
def test_every_attribute_changes_the_answer(attribute: int) -> None:
    network = lively_network()
    noisy, t, condition = inputs(1, 1)
    other = condition.clone()
    other[..., attribute] = torch.nan if attribute == 0 else 3 - condition[..., attribute].clamp(1)
    other[..., 1] = other[..., 1].clamp(max=2)
    difference = network(noisy, t, condition) - network(noisy, t, other)
    assert float(difference.detach().abs().max()) > 1e-4


def test_the_noise_level_changes_the_answer() -> None:
    network = lively_network()
    noisy, t, condition = inputs(1, 1)
    difference = network(noisy, t, condition) - network(noisy, t / 2, condition)
    assert float(difference.detach().abs().max()) > 1e-4


def test_every_parameter_lies_in_a_layer_that_private_training_can_handle() -> None:
    network = lively_network()
    calls: Counter[str] = Counter()

    def record(name: str, num_records: int) -> object:
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            calls[name] += 1
            assert arguments[0].ndim <= 3
            assert len(arguments[0]) == num_records

        return hook

    owners = {
        name: module
        for name, module in network.named_modules()
        if list(module.parameters(recurse=False))
    }
    for name, module in owners.items():
        assert type(module) in (nn.Linear, nn.Embedding, nn.RMSNorm)
        module.register_forward_pre_hook(record(name, 3))
    network(*inputs(3, 2))
    assert calls == Counter(dict.fromkeys(owners, 1))
    assert not list(network.buffers())


def test_every_parameter_gets_a_gradient() -> None:
    network = lively_network()
    network(*inputs(2, 2)).square().mean().backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum()
    ]
    assert silent == []


def test_half_precision_trains_single_precision_parameters() -> None:
    network = lively_network()
    exact = network(*inputs(2, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(*inputs(2, 2))
    rough.square().mean().backward()
    assert rough.dtype == torch.float32
    assert {parameter.grad.dtype for parameter in network.parameters()} == {torch.float32}  # type: ignore[union-attr]
    # bfloat16 carries 8 bits: about 1 part in 100 after four blocks.
    assert float(((rough - exact).norm() / exact.norm()).detach()) < 0.02


def test_patches_put_together_give_the_image_back() -> None:
    image = torch.randn(2, 3, 1, 32, 48, generator=torch.Generator().manual_seed(1))
    assert torch.equal(unpatchify(patchify(image, 8), (4, 6), 8), image)


def test_a_patch_holds_a_square_of_neighbours() -> None:
    image = torch.arange(16 * 24).float().view(1, 1, 1, 16, 24)
    torch.testing.assert_close(patchify(image, 8)[0, 0, 4].view(8, 8), image[0, 0, 0, 8:, 8:16])


def test_an_image_that_does_not_divide_into_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="36 x 36 pixels does not divide into patches of 8"):
        lively_network()(*inputs(1, 1, 36))


def angles_of(rows: int, columns: int, num_unplaced: int = 0) -> tuple[Tensor, Tensor]:
    cpu = torch.device("cpu")
    return rotation(rows, columns, num_unplaced=num_unplaced, head_dim=32, device=cpu)


def turns_of(rows: int, columns: int) -> Tensor:
    """The angle of every token and every pair of channels."""
    cosine, sine = angles_of(rows, columns)
    return torch.atan2(sine[:, 16:], cosine[:, 16:])


def test_the_middle_of_four_small_patches_turns_like_the_large_patch_they_fill() -> None:
    large = turns_of(2, 2)[0]
    small = turns_of(4, 4).view(4, 4, 16)[:2, :2].mean(dim=(0, 1))
    slow = slice(2, 8)  # angles that stay below half a turn, so that their mean has a meaning
    torch.testing.assert_close(small[slow], large[slow], atol=1e-5, rtol=1e-5)


def test_rotation_keeps_lengths_and_sees_only_distances() -> None:
    generator = torch.Generator().manual_seed(2)
    query, key = torch.randn(2, 32, generator=generator)
    grid = rotate(query.expand(1, 1, 64, 32), angles_of(8, 8))[0, 0]
    keys = rotate(key.expand(1, 1, 64, 32), angles_of(8, 8))[0, 0]
    torch.testing.assert_close(grid.norm(dim=1), query.norm().expand(64))
    scores = (grid @ keys.T).view(8, 8, 8, 8)
    torch.testing.assert_close(scores[0, 0, 2, 3], scores[4, 3, 6, 6], atol=1e-4, rtol=1e-4)
    assert not torch.isclose(scores[0, 0, 2, 3], scores[0, 0, 3, 2], atol=1e-2)


def test_tokens_without_a_place_do_not_turn() -> None:
    heads = torch.randn(1, 2, 7, 32, generator=torch.Generator().manual_seed(3))
    turned = rotate(heads, angles_of(2, 2, num_unplaced=3))
    assert torch.equal(turned[:, :, :3], heads[:, :, :3])
    assert not torch.equal(turned[:, :, 3:], heads[:, :, 3:])


def test_a_pair_of_channels_turns_by_its_angle() -> None:
    heads = torch.randn(1, 1, 4, 32, generator=torch.Generator().manual_seed(3))
    turned = rotate(heads, angles_of(2, 2))
    before, after = (torch.complex(part[..., :16], part[..., 16:]) for part in (heads, turned))
    torch.testing.assert_close(after, before * torch.exp(1j * turns_of(2, 2)))


def test_a_patch_turns_forward_by_the_place_of_its_middle() -> None:
    heads = torch.zeros(1, 1, 1, 32)
    heads[..., 0] = 1.0  # the fastest pair of the half that turns with the row
    turned = rotate(heads, angles_of(1, 1))
    # A single patch has its middle at 8 of the reference grid's 16.
    found = turned[0, 0, 0, [0, 16]]
    torch.testing.assert_close(found, torch.tensor([math.cos(8.0), math.sin(8.0)]))


def test_sampling_in_inference_mode_does_not_spoil_later_training() -> None:
    network = lively_network()
    rotation.cache_clear()
    with torch.inference_mode():
        network(*inputs(1, 1))
    loss: Tensor = network(*inputs(1, 1)).sum()
    torch.autograd.backward(loss)


@pytest.mark.slow
def test_sixty_steps_on_a_few_images_lower_the_loss() -> None:
    network = initial_network(CONFIG, Schema(), 1)
    rows = np.stack([Schema().null_row(), Schema().row(METADATA)])
    condition = torch.from_numpy(rows).repeat(4, 1)
    ramp = torch.linspace(-1, 1, 32)
    image = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32)])[:, None].repeat(
        4, 1, 1, 1
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.0)
    generator = torch.Generator().manual_seed(4)
    fixed = draw_noise(tuple(image.shape), 4, 32, torch.Generator().manual_seed(5))
    before = flow_loss(network, image, condition, fixed).mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        draws = draw_noise(tuple(image.shape), 1, 32, generator)
        torch.autograd.backward(flow_loss(network, image, condition, draws).mean())
        optimizer.step()
    after = flow_loss(network, image, condition, fixed).mean().item()
    assert after < 0.1 * before


METADATA = Metadata(
    age=70.0,
    sex="F",
    view="PA",
    race="asian",
    site=1,
    manufacturer=2,
    findings={"edema": "present"},
)

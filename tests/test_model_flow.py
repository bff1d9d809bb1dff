"""Path, target, sign and noise levels; a record's loss is its own."""

import pytest
import torch
from torch import Tensor

from model.conditioning import Schema
from model.config import model_config
from model.flow import MIN_T, Draws, draw_noise, flow_loss, interpolate, shift_t, velocity
from model.initial import initial_network

CONDITION = torch.zeros(6, 20)


def images() -> Tensor:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


def draws_for(seed: int, num_draws: int = 3) -> Draws:
    return draw_noise((6, 1, 8, 8), num_draws, 256, torch.Generator().manual_seed(seed))


def test_the_exact_image_has_no_loss() -> None:
    image, draws = images(), draws_for(3)

    def exact(noisy: Tensor, t: Tensor, _condition: Tensor) -> Tensor:
        level = t[..., None, None, None]
        image_behind: Tensor = (noisy - level * draws.noise) / (1 - level)
        return image_behind

    loss = flow_loss(exact, image, CONDITION, draws)
    torch.testing.assert_close(loss, torch.zeros(6), atol=1e-4, rtol=0)


def test_the_exact_image_with_its_sign_flipped_has_a_large_loss() -> None:
    image, draws = images(), draws_for(3)
    loss = flow_loss(lambda noisy, t, c: -image[:, None].expand_as(noisy), image, CONDITION, draws)
    assert float(loss.min()) > 0.5


def test_the_velocity_of_the_exact_image_is_noise_minus_image() -> None:
    image, draws = images()[:, None].expand(-1, 3, -1, -1, -1), draws_for(4)
    noisy = interpolate(image, draws.noise, draws.t)
    torch.testing.assert_close(
        velocity(noisy, image, draws.t), draws.noise - image, atol=1e-4, rtol=1e-4
    )


def test_the_path_starts_at_the_image_and_ends_at_the_noise() -> None:
    image, noise = images()[:, None], draws_for(5, 1).noise
    torch.testing.assert_close(interpolate(image, noise, torch.zeros(6, 1)), image)
    torch.testing.assert_close(interpolate(image, noise, torch.ones(6, 1)), noise)


def test_the_loss_is_the_image_error_over_the_noise_level_down_to_the_smallest() -> None:
    image = torch.zeros(2, 1, 8, 8)
    draws = draw_noise((2, 1, 8, 8), 1, 256, torch.Generator().manual_seed(6))
    draws.t[:, 0] = torch.tensor([0.5, MIN_T / 10])
    loss = flow_loss(lambda noisy, t, c: torch.full_like(noisy, 0.1), image, CONDITION[:2], draws)
    torch.testing.assert_close(loss, torch.tensor([0.1 / 0.5, 0.1 / MIN_T]) ** 2)


def test_a_record_s_loss_is_the_mean_over_its_draws() -> None:
    image, draws = images(), draws_for(7)
    loss = flow_loss(lambda noisy, t, c: torch.zeros_like(noisy), image, CONDITION, draws)
    error = -velocity(torch.zeros_like(draws.noise), image[:, None].expand_as(draws.noise), draws.t)
    torch.testing.assert_close(loss, error.square().mean(dim=(1, 2, 3, 4)))


def test_the_network_sees_the_condition_in_every_draw() -> None:
    seen: list[Tensor] = []

    def remember(noisy: Tensor, _t: Tensor, condition: Tensor) -> Tensor:
        seen.append(condition)
        return noisy

    condition = torch.arange(6.0)[:, None].expand(6, 20)
    flow_loss(remember, images(), condition, draws_for(8))
    torch.testing.assert_close(seen[0], condition[:, None].expand(6, 3, 20))


def test_a_record_s_loss_does_not_depend_on_its_neighbours() -> None:
    network = initial_network(model_config("tiny", 32), Schema(), 1)
    torch.nn.init.normal_(network.head.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    image = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    draws = draw_noise((3, 1, 32, 32), 2, 32, torch.Generator().manual_seed(4))
    together = flow_loss(network, image, CONDITION[:3], draws)
    image[1:] = 0.3
    draws.noise[1:] = -draws.noise[1:]
    others = flow_loss(network, image, CONDITION[:3], draws)
    torch.testing.assert_close(others[0], together[0], rtol=1e-5, atol=1e-6)
    assert not torch.isclose(others[1], together[1], rtol=1e-3)


def test_the_same_seed_gives_the_same_draws() -> None:
    first, second, other = draws_for(9), draws_for(9), draws_for(10)
    assert torch.equal(first.t, second.t)
    assert torch.equal(first.noise, second.noise)
    assert not torch.equal(first.noise, other.noise)


def test_noise_levels_are_logit_normal() -> None:
    generator = torch.Generator().manual_seed(11)
    t = draw_noise((20_000, 1, 1, 1), 1, 256, generator).t.double()
    # Five standard errors: 0.8 / sqrt(20000) for the mean, 0.8 / sqrt(40000) for the spread.
    assert float(torch.logit(t).mean()) == pytest.approx(0.8, abs=0.029)
    assert float(torch.logit(t).std()) == pytest.approx(0.8, abs=0.02)


def test_larger_images_are_trained_at_higher_noise() -> None:
    t = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(shift_t(t, 512), torch.tensor([0.0, 2 / 3, 1.0]))
    torch.testing.assert_close(shift_t(t, 256), t)
    torch.testing.assert_close(shift_t(t, 64), t)
    small, large = (
        draw_noise((100, 1, 1, 1), 1, side, torch.Generator().manual_seed(1)).t
        for side in (64, 1024)
    )
    assert bool((small < large).all())


def test_noise_levels_and_loss_of_pixels_are_the_recorded_ones() -> None:
    network = initial_network(model_config("tiny", 32), Schema(), 1)
    torch.nn.init.normal_(network.head.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    image = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    draws = draw_noise((3, 1, 32, 32), 2, 512, torch.Generator().manual_seed(4))
    # Printed by this code before it knew anything but pixels.
    levels = [0.55204237, 0.84279007, 0.96391207, 0.89761329, 0.92082888, 0.76348948]
    torch.testing.assert_close(draws.t.flatten(), torch.tensor(levels))
    loss = flow_loss(network, image, CONDITION[:3], draws)
    torch.testing.assert_close(loss, torch.tensor([2.91255522, 1.39624715, 1.78979361]))

"""A student lands where its teacher arrives, in one straight step for each piece of the way."""

import copy
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from model.conditioning import Schema
from model.config import model_config
from model.distillation.pieces import Crossings, landing_error, teacher_points
from model.distillation.student import StudentTraining, train_student
from model.guidance import Guidance
from model.initial import initial_network
from model.sampler import Sampling, sample, starting_noise, time_grid
from model.transformer import RectifiedFlowTransformer

SIDE = 16
CONFIG = model_config("tiny", SIDE)


def _network() -> RectifiedFlowTransformer:
    """A network in which the condition and the noise level have their say."""
    network = initial_network(CONFIG, Schema(), 1)
    generator = torch.Generator().manual_seed(2)
    for layer in (network.head, network.mod, network.attributes):
        nn.init.normal_(layer.weight, std=0.1, generator=generator)
    return network.eval()


def _conditions(count: int) -> Tensor:
    rows = torch.from_numpy(Schema().null_row()).repeat(count, 1)
    rows[:, 0] = torch.linspace(20, 80, count)
    rows[:, 1] = torch.arange(count) % 2 + 1
    return rows


def _sampling(num_steps: int) -> Sampling:
    return Sampling(num_steps=num_steps, guidance=Guidance(scale=2.0), method="heun")


def _points(network: nn.Module, count: int, num_pieces: int) -> tuple[Tensor, Tensor]:
    """Noise, and where the teacher leaves each piece."""
    noise = starting_noise((1, SIDE, SIDE), seed=1, numbers=range(count))
    points = teacher_points(
        network,
        _conditions(count),
        noise,
        _sampling(4 * num_pieces),
        num_pieces=num_pieces,
        noise_size=CONFIG.noise_size,
    )
    return noise, points


def _batches(network: nn.Module, count: int, num_pieces: int) -> Iterator[Crossings]:
    noise, points = _points(network, count, num_pieces)
    entries = torch.cat([noise[:, None], points[:, :-1]], dim=1)
    generator = torch.Generator().manual_seed(3)
    while True:
        ways = torch.randint(count, (16,), generator=generator)
        pieces = torch.randint(num_pieces, (16,), generator=generator)
        yield Crossings(
            start=entries[ways, pieces],
            end=points[ways, pieces],
            piece=pieces,
            condition=_conditions(count)[ways],
        )


def test_the_last_point_of_a_way_is_the_picture_that_the_teacher_draws() -> None:
    network = _network()
    noise, points = _points(network, 3, 4)
    assert points.shape == (3, 4, 1, SIDE, SIDE)
    drawn = sample(network, _conditions(3), noise, _sampling(16), image_size=CONFIG.noise_size)
    torch.testing.assert_close(points[:, -1], drawn)


def test_a_way_that_does_not_divide_into_the_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match="10 steps do not divide into 4 equal pieces"):
        teacher_points(
            _network(),
            _conditions(1),
            torch.zeros(1, 1, SIDE, SIDE),
            _sampling(10),
            num_pieces=4,
            noise_size=SIDE,
        )


@pytest.mark.parametrize("piece", [0, 1, 3])
def test_a_step_lands_where_euler_s_step_of_sampling_does(piece: int) -> None:
    network, levels = _network(), time_grid(4, CONFIG.noise_size)
    t, t_next = list(pairwise(levels))[piece]
    start = starting_noise((1, SIDE, SIDE), seed=5, numbers=range(3))
    with torch.no_grad():
        image = network(start[:, None], torch.full((3, 1), t), _conditions(3)[:, None])[:, 0]
    stepped = start + (t_next - t) * (start - image) / t
    crossings = Crossings(
        start=start, end=stepped, piece=torch.full((3,), piece), condition=_conditions(3)
    )
    error = landing_error(network, crossings, torch.tensor(levels))
    torch.testing.assert_close(error, torch.zeros(3), atol=1e-10, rtol=0)
    beside = Crossings(
        start=start, end=stepped + 0.5, piece=crossings.piece, condition=crossings.condition
    )
    torch.testing.assert_close(
        landing_error(network, beside, torch.tensor(levels)), torch.full((3,), 0.25)
    )


def test_a_student_learns_to_arrive_with_its_teacher_in_fewer_steps() -> None:
    teacher = _network()
    before = copy.deepcopy(teacher.state_dict())
    losses: list[float] = []
    student = train_student(
        teacher,
        _batches(teacher, 48, 2),
        StudentTraining(num_pieces=2, num_steps=80, learning_rate=2e-3),
        noise_size=CONFIG.noise_size,
        on_step=lambda _number, loss: losses.append(loss),
    )
    assert len(losses) == 80
    unseen = starting_noise((1, SIDE, SIDE), seed=1, numbers=range(100, 132))
    arrived = sample(teacher, _conditions(32), unseen, _sampling(8), image_size=SIDE)
    plain = Sampling(num_steps=2, guidance=Guidance(scale=1.0), method="euler")
    usual = Sampling(num_steps=2, guidance=Guidance(scale=2.0), method="euler")

    def distance(network: nn.Module, sampling: Sampling) -> float:
        drawn = sample(network, _conditions(32), unseen, sampling, image_size=SIDE)
        return float((drawn - arrived).square().mean())

    assert distance(student, plain) < 0.5 * distance(teacher, usual)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_the_same_ways_make_the_same_student() -> None:
    def learned() -> Tensor:
        teacher = _network()
        student = train_student(
            teacher,
            _batches(teacher, 8, 2),
            StudentTraining(num_pieces=2, num_steps=3),
            noise_size=SIDE,
            on_step=lambda _number, _loss: None,
        )
        return torch.cat([value.flatten() for value in student.parameters()]).detach()

    first = learned()
    assert torch.equal(first, learned())
    original = torch.cat([value.flatten() for value in _network().parameters()]).detach()
    assert not torch.equal(first, original)


@pytest.mark.parametrize("field", ["num_pieces", "num_steps", "learning_rate"])
def test_a_training_of_nothing_is_refused(field: str) -> None:
    good: dict[str, int | float] = {"num_pieces": 2, "num_steps": 3, "learning_rate": 1e-3}
    with pytest.raises(ValueError, match=rf"{field} is 0(\.0)?, it must be above 0"):
        StudentTraining(**(good | {field: type(good[field])(0)}))  # type: ignore[arg-type]

"""Inversion: walk from the picture into noise as the source, and from there back as the target."""

from itertools import pairwise

from model.editing.settings import Inversion
from model.editing.task import Task
from model.flow import Denoiser
from model.guidance import NO_GUIDANCE, Condition, Guidance, Latents, guided_velocity
from model.sampler import time_grid


def invert_and_return(task: Task, settings: Inversion) -> Latents:
    """The pictures as the target would have them; the walk out has no push."""
    levels = last_levels(settings.num_steps, settings.share, task.noise_size)
    network, order = task.network, settings.order
    x = task.latents
    for step in pairwise(reversed(levels)):
        x = _step(network, x, step, task.source, NO_GUIDANCE, order=order)
    for step in pairwise(levels):
        x = _step(network, x, step, task.target, settings.guidance, order=order)
    return x


def last_levels(num_steps: int, share: float, noise_size: int) -> list[float]:
    """Noise levels of the last ``share`` of the steps, down to 0."""
    return time_grid(num_steps, noise_size)[num_steps - round(share * num_steps) :]


def _step(
    network: Denoiser,
    x: Latents,
    levels: tuple[float, float],
    condition: Condition,
    guidance: Guidance,
    *,
    order: int,
) -> Latents:
    """One step in either direction, with the velocity at its beginning or at its middle."""
    t, t_next = levels
    begin = t if t > 0 else t_next  # there is no velocity at t = 0
    slope = guided_velocity(network, x, begin, condition, guidance)
    if order == 2:
        halfway = x + (t_next - t) / 2 * slope
        slope = guided_velocity(network, halfway, (t + t_next) / 2, condition, guidance)
    return x + (t_next - t) * slope

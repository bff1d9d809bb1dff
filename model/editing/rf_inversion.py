"""RF-inversion: walk into a noise drawn beforehand and back, pulled towards where each walk shall end.

(Rout et al. 2024, https://arxiv.org/abs/2410.10792.) Both pulls are straight lines: to the noise on
the whole way out, to the source picture on the first part of the way back. The way out knows nothing
of the picture, and the source's condition is not asked for.
"""

from itertools import pairwise

from model.editing.settings import RFInversion
from model.editing.task import Task
from model.guidance import Latents, guided_velocity, velocity_at
from model.sampler import time_grid
from model.tokens import null_like


def rf_inversion(task: Task, settings: RFInversion, noise: Latents) -> Latents:
    """The pictures as the target would have them."""
    levels = time_grid(settings.num_steps, task.noise_size)
    x = _into_noise(task, settings, noise, levels)
    for number, (t, t_next) in enumerate(pairwise(levels)):
        slope = guided_velocity(task.network, x, t, task.target, settings.guidance)
        if number < settings.pulled_share * settings.num_steps:
            slope += settings.pull_to_source * ((x - task.latents) / t - slope)
        x = x + (t_next - t) * slope
    return x


def _into_noise(task: Task, settings: RFInversion, noise: Latents, levels: list[float]) -> Latents:
    """A point near ``noise`` that remembers the picture."""
    x, unknown = task.latents, null_like(task.source)
    for t, t_next in pairwise(reversed(levels)):
        begin = t if t > 0 else t_next  # there is no velocity at t = 0
        slope = velocity_at(task.network, x, begin, unknown)
        slope += settings.pull_to_noise * ((noise - x) / (1 - t) - slope)
        x = x + (t_next - t) * slope
    return x

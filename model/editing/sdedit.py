"""SDEdit: hide the picture in noise, and take the noise away as the target.

(Meng et al. 2022, https://arxiv.org/abs/2108.01073.) The source's condition is not asked for.
"""

from itertools import pairwise

import torch

from model.editing.inversion import last_levels
from model.editing.settings import SDEdit
from model.editing.task import Task
from model.guidance import Latents, guided_velocity


def sdedit(task: Task, settings: SDEdit, noise: Latents) -> Latents:
    """The pictures as the target would have them; outside the region they follow the noised source."""
    levels = last_levels(settings.num_steps, settings.share, task.noise_size)
    x = torch.lerp(task.latents, noise, levels[0])
    for t, t_next in pairwise(levels):
        slope = guided_velocity(task.network, x, t, task.target, settings.guidance)
        kept = torch.lerp(task.latents, noise, t_next)
        x = torch.lerp(kept, x + (t_next - t) * slope, task.region)
    return x

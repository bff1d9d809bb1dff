"""FlowEdit: the difference between where the target and the source would go is where the picture goes.

At every noise level the source picture is noised, the picture made so far gets the same noise, and
the network is asked for the velocity of both. What the two velocities share, which is nearly
everything, cancels; there is no inversion whose error could add up. (Kulikov et al. 2025,
https://arxiv.org/abs/2412.08629.) The push moves away from a condition that differs from the target
in the edited attributes only, and so moves nothing else: possible because training drops every
attribute on its own.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from model.editing.conditions import differing, only_findings_differ, without
from model.editing.settings import FlowEdit
from model.editing.task import Task
from model.guidance import Condition, Latents, guided_velocity, velocity_at
from model.sampler import time_grid
from model.tokens import null_like

REACH = 1 / 20
"""How far the strength of a change is averaged around each pixel, as a share of the side."""


def flow_edit(task: Task, settings: FlowEdit, noise: Iterator[Latents]) -> Latents:
    """The pictures as the target would have them; bit for bit the same where it is the source."""
    reference = _reference(task, settings)
    first_steps = _first_steps(task, settings)
    change = torch.zeros_like(task.latents)
    levels = time_grid(settings.num_steps, task.noise_size)
    for number, (t, t_next) in enumerate(pairwise(levels)):
        walks = (number >= first_steps)[:, None, None, None]
        if walks.any():
            slope = _mean_slope(task, settings, change, t, reference=reference, noise=noise)
            change = change + (t_next - t) * slope * task.region * walks
    return task.latents + _without_faint(change, settings.faint)


def _mean_slope(
    task: Task,
    settings: FlowEdit,
    change: Latents,
    t: float,
    *,
    reference: Condition,
    noise: Iterator[Latents],
) -> Latents:
    """Velocity of the target minus velocity of the source, over the noises of one step."""
    total = torch.zeros_like(change)
    for _ in range(settings.num_noises):
        noisy = torch.lerp(task.latents, next(noise), t)
        total += guided_velocity(
            task.network, noisy + change, t, task.target, settings.guidance, away_from=reference
        )
        total -= velocity_at(task.network, noisy, t, task.source)
    return total / settings.num_noises


def _without_faint(change: Latents, share: float) -> Latents:
    """The change, weakened where it is much weaker than in the place where it is strongest.

    Weighted as Wiener would, with a share of the strongest change taken for the inaccuracy.
    """
    if not share:
        return change
    reach = max(1, round(REACH * change.shape[-1]))
    energy = avg_pool2d(
        change.square().mean(dim=1, keepdim=True),
        kernel_size=2 * reach + 1,
        stride=1,
        padding=reach,
        count_include_pad=False,
    )
    floor = share**2 * energy.amax(dim=(2, 3), keepdim=True)
    return change * energy / (energy + floor).clamp_min(torch.finfo(energy.dtype).tiny)


def _reference(task: Task, settings: FlowEdit) -> Condition:
    """The condition that the push moves away from."""
    match settings.away_from:
        case "source":
            return task.source
        case "unset":
            return without(task.target, differing(task.source, task.target))
        case "nothing":
            return null_like(task.target)


def _first_steps(task: Task, settings: FlowEdit) -> Float[Tensor, " batch"]:
    """Number of the step with which each picture's walk begins."""
    local = only_findings_differ(task.source, task.target)
    share = torch.where(local, settings.local_share, settings.global_share)
    return settings.num_steps - torch.round(share * settings.num_steps)

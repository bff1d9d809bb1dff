"""Every picture of some prompts, in order, each with the noise it begins with."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from model.generate import BATCH, Generator, draw_from
from model.sampler import Sampling, starting_noise
from synthesis.generation.prompts import NO_SEED, Prompts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """n pictures to draw. A picture's noise depends on its seed and its number and nothing else."""

    prompts: Prompts

    prompt_of: NDArray[np.int64]
    """(n,): which prompt a picture belongs to."""

    seeds: NDArray[np.int64]
    """(n,)"""

    numbers: NDArray[np.int64]
    """(n,): which picture of its seed. Under a prompt's own seed, counted from 0 in that prompt, so that
    prompts with one seed begin with the same noise; otherwise the place in the whole order."""

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.prompt_of)

    @property
    def num_batches(self) -> int:
        """Groups that are drawn at once; their size is fixed, because it can change the last bits."""
        return -(-len(self) // BATCH)

    def batch(self, number: int) -> range:
        """Pictures of one group."""
        return range(number * BATCH, min((number + 1) * BATCH, len(self)))

    def row(self, picture: int) -> NDArray[np.float32]:
        """Condition of one picture, (attribute,)."""
        row: NDArray[np.float32] = self.prompts.rows[self.prompt_of[picture]]
        return row

    def digest(self) -> str:
        """The same for plans of the same pictures."""
        digest = hashlib.sha256()
        rows = np.ascontiguousarray(self.prompts.rows, dtype="<f4")
        for array in (rows, self.prompt_of, self.seeds, self.numbers):
            digest.update(f"{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()


def plan_of(prompts: Prompts, *, seed: int) -> Plan:
    """The pictures of some prompts, prompt after prompt.

    Args:
        prompts: what to draw.
        seed: for prompts without a seed of their own; at least 0.
    """
    prompt_of = np.repeat(np.arange(len(prompts)), prompts.counts)
    place = np.arange(len(prompt_of))
    first = np.cumsum(prompts.counts) - prompts.counts
    own = prompts.seeds[prompt_of] != NO_SEED
    return Plan(
        prompts=prompts,
        prompt_of=prompt_of,
        seeds=np.where(own, prompts.seeds[prompt_of], seed),
        numbers=np.where(own, place - first[prompt_of], place),
    )


def draw_group(
    generator: Generator, plan: Plan, number: int, sampling: Sampling
) -> Float[Tensor, "batch 1 height width"]:
    """The pictures of one group, in [-1, 1], on the processor."""
    pictures = plan.batch(number)
    noise = [
        starting_noise(generator.latent_shape, seed=int(seed), numbers=[int(n)])
        for seed, n in zip(plan.seeds[pictures], plan.numbers[pictures], strict=True)
    ]
    condition = torch.from_numpy(plan.prompts.rows[plan.prompt_of[pictures]])
    return draw_from(generator, condition, torch.cat(noise), sampling)


def draw_groups(
    generator: Generator, plan: Plan, sampling: Sampling
) -> Iterator[Float[Tensor, "batch 1 height width"]]:
    """All pictures, a group at a time."""
    for number in range(plan.num_batches):
        yield draw_group(generator, plan, number, sampling)

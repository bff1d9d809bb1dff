"""The randomness of an edit: for every picture its own endless series of noises."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from model.guidance import Latents

_EDITING = 1
"""Keeps the noises of edits apart from those that pictures are drawn from."""


def noises(like: Latents, *, seed: int, numbers: Sequence[int]) -> Iterator[Latents]:
    """Standard normal noise without end, drawn on the processor.

    Args:
        like: pictures whose shape and device the noise shall have.
        seed: at least 0.
        numbers: which pictures of the seed, one per picture; what a picture gets depends on the
            seed and on its own number only.
    """
    sources = [_generator(seed, number) for number in numbers]
    shape = like.shape[1:]
    while True:
        drawn = torch.stack([torch.randn(shape, generator=source) for source in sources])
        yield drawn.to(like)


def _generator(seed: int, number: int) -> torch.Generator:
    """The randomness of one picture."""
    state = np.random.SeedSequence([seed, number, _EDITING]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))

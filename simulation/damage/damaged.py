"""One number -> one damaged file."""

from collections.abc import Sequence

import numpy as np

from simulation.damage import bombs, elements, octets

_MAX_DAMAGES = 3
_BOMBS_ONE_IN = 8


def damaged(originals: Sequence[bytes], seed: int) -> bytes:
    """One of the originals with one to three kinds of damage; the same seed gives the same file."""
    chance = np.random.default_rng(seed)
    content = originals[int(chance.integers(len(originals)))]
    for _ in range(chance.integers(1, _MAX_DAMAGES + 1)):
        kinds = elements.ALL if chance.random() < 0.5 else octets.ALL
        content = kinds[int(chance.integers(len(kinds)))](content, chance)
    if chance.integers(_BOMBS_ONE_IN) == 0:
        content = bombs.ALL[int(chance.integers(len(bombs.ALL)))](content, chance)
    return content

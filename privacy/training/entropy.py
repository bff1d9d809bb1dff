"""Randomness that hides patients: from the operating system, and never from a seed that anyone can name.

Whoever can repeat the noise can take it off again. Torch's own generators are repeated by a known seed and draw
noise with 24 bits, so noise is the keystream of AES-256 in counter mode under a key that the operating system
gives and nobody else sees, turned into normal numbers by Box and Muller's method with 53 bits.
"""

import os
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

KEY_BYTES, COUNTER_BYTES = 32, 16
WORD_BYTES = 8
AT_ONCE = 2**16
"""Numbers made from one piece of keystream; few enough to stay in the processor's cache."""


@runtime_checkable
class Entropy(Protocol):
    """Where sampling, noise and every other choice about patients come from."""

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Independent numbers in [0, 1)."""

    def normal(self, count: int) -> NDArray[np.float64]:
        """Independent standard normal numbers."""

    def torch_generator(self) -> torch.Generator:
        """For bulk draws that need no secrecy beyond a seed that no configuration knows."""


class SystemEntropy:
    """The operating system's; a process that was forked from this one draws under its own key."""

    def __init__(self) -> None:
        self._rekey()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Independent numbers in [0, 1), multiples of 2**-53."""
        return np.concatenate([self._fractions(part) for part in _parts(count)] or [np.empty(0)])

    def normal(self, count: int) -> NDArray[np.float64]:
        """Independent standard normal numbers; none is beyond 8.6, where one in 10**16 would be."""
        numbers = np.empty(count)
        start = 0
        for part in _parts(count):
            numbers[start : start + part] = self._box_muller((part + 1) // 2)[:part]
            start += part
        return numbers

    def torch_generator(self) -> torch.Generator:
        """A fresh generator on the processor, seeded with 63 bits."""
        return torch.Generator().manual_seed(int(self._words(1)[0] >> np.uint64(1)))

    def _box_muller(self, num_pairs: int) -> NDArray[np.float64]:
        """Two normal numbers from every two uniform ones (Box and Muller 1958)."""
        radius = np.sqrt(-2.0 * np.log1p(-self._fractions(num_pairs)))
        angle = 2.0 * np.pi * self._fractions(num_pairs)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])

    def _fractions(self, count: int) -> NDArray[np.float64]:
        return (self._words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def _words(self, count: int) -> NDArray[np.uint64]:
        if os.getpid() != self._process:
            self._rekey()
        return np.frombuffer(self._stream.update(bytes(WORD_BYTES * count)), np.uint64)

    def _rekey(self) -> None:
        self._process = os.getpid()
        mode = CTR(os.urandom(COUNTER_BYTES))
        self._stream = Cipher(AES(os.urandom(KEY_BYTES)), mode).encryptor()


def shuffled(count: int, entropy: Entropy) -> NDArray[np.int64]:
    """The numbers from 0 to count - 1 in random order."""
    return np.argsort(entropy.uniform(count)).astype(np.int64)


def _parts(count: int) -> list[int]:
    """Lengths that add up to ``count``, none longer than AT_ONCE."""
    return [min(AT_ONCE, count - start) for start in range(0, count, AT_ONCE)]

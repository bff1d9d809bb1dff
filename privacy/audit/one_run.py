"""What guesses about canaries prove against a claimed epsilon, after a single training.

Every canary is put in or left out by a fair coin. Whoever sees what the training released then guesses, for the
canaries it is surest of, which were in. Training that keeps its promise bounds how many guesses can be right
(Steinke, Nasr and Jagielski 2023, https://arxiv.org/abs/2305.08846, theorem 5.2); more right ones than that prove
that the promise is broken. Few right ones prove nothing: the bound is a floor under epsilon, not an estimate of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binom

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares of the canaries that are guessed "in", and as many "out": few sure guesses, or many less sure ones."""

Scores = Float[np.ndarray, " canary"]
Flags = Bool[np.ndarray, " canary"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LowerBound:
    """The strongest statement that one set of scores supports."""

    epsilon: float
    """The training is not (epsilon, delta)-differentially private for any smaller epsilon."""
    num_guesses: int
    num_right: int


def p_value(
    *, num_canaries: int, num_guesses: int, num_right: int, epsilon: float, delta: float
) -> float:
    """At most this likely are so many right guesses, if the training is (epsilon, delta)-differentially private.

    Args:
        num_canaries: each was in with probability 1/2, independently.
        num_guesses: canaries guessed about; about the rest nothing was said.
        num_right: of the guesses.
        epsilon: of the claim, at least 0.
        delta: of the claim, in [0, 1).

    Raises:
        ValueError: more right than guessed, or more guessed than there are.
    """
    if not 0 <= num_right <= num_guesses <= num_canaries:
        raise ValueError(
            f"{num_right} right of {num_guesses} guesses about {num_canaries} canaries"
        )
    chance_of_right = 1 / (1 + math.exp(-epsilon))
    by_luck = float(binom.sf(num_right - 1, num_guesses, chance_of_right))
    near = np.cumsum(binom.pmf(np.arange(num_right)[::-1], num_guesses, chance_of_right))
    by_delta = float((near / np.arange(1, num_right + 1)).max(initial=0.0))
    return min(1.0, by_luck + 2 * num_canaries * delta * by_delta)


def epsilon_proven(
    *, num_canaries: int, num_guesses: int, num_right: int, delta: float, significance: float
) -> float:
    """The largest epsilon that so many right guesses refute; 0 if they refute none.

    Args:
        num_canaries: as in `p_value`.
        num_guesses: as in `p_value`.
        num_right: as in `p_value`.
        delta: as in `p_value`.
        significance: chance of being wrong that is put up with, in (0, 1).
    """

    def refutes(epsilon: float) -> bool:
        """The training cannot be private with this epsilon."""
        chance = p_value(
            num_canaries=num_canaries,
            num_guesses=num_guesses,
            num_right=num_right,
            epsilon=epsilon,
            delta=delta,
        )
        return chance < significance

    if not refutes(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refutes(high):
        low, high = high, high + 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if refutes(middle) else (low, middle)
    return low


def lower_bound(
    scores: Scores,
    is_in: Flags,
    *,
    delta: float,
    significance: float = 0.05,
    shares: Sequence[float] = SHARES,
) -> LowerBound:
    """The best bound over several numbers of guesses, each tried at its part of the significance (Bonferroni).

    Args:
        scores: one finite number per canary, higher meaning "was in".
        is_in: how the coins fell.
        delta: of the claim.
        significance: chance that a training that keeps its promise is found to break it, in (0, 1).
        shares: of the canaries to guess "in", each in (0, 0.5].

    Raises:
        ValueError: fewer than two canaries, or a score that is not finite.
    """
    if len(scores) < 2 or not np.isfinite(scores).all():
        raise ValueError(
            f"{len(scores)} scores: an audit needs two canaries, each with a finite score"
        )
    sides = sorted({max(1, min(len(scores) // 2, round(share * len(scores)))) for share in shares})
    order = np.argsort(scores)
    bounds = []
    for side in sides:
        num_right = int(is_in[order[-side:]].sum() + (~is_in[order[:side]]).sum())
        proven = epsilon_proven(
            num_canaries=len(scores),
            num_guesses=2 * side,
            num_right=num_right,
            delta=delta,
            significance=significance / len(sides),
        )
        bounds.append(LowerBound(epsilon=proven, num_guesses=2 * side, num_right=num_right))
    return max(bounds, key=lambda bound: bound.epsilon)

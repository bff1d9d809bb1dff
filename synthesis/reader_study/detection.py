"""What one reader's judgements tell, as psychophysics counts them: right answers, sensitivity, bias.

The signal is "synthetic". d' is how far apart real and synthetic ones lie for the reader, in standard deviations:
0 is guessing. The criterion is how far the reader leans: above 0 towards saying "real". Shares of 0 and 1 are
moved by half an answer so that both stay finite (Hautus 1995, https://doi.org/10.3758/BF03203619).
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float

from model.evaluation.auroc import auroc
from model.evaluation.bootstrap import Interval, bootstrap_interval
from synthesis.proportions import Share, chance_of_guessing, share

SIGNIFICANT = 0.05
VERDICTS = ("better than chance", "not told from chance", "worse than chance")


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """One reader's result in one presentation."""

    accuracy: Share
    p_value: float
    """Two-sided, of the accuracy being that of a coin."""

    sensitivity: Share
    """Of synthetic ones, called synthetic."""

    specificity: Share
    """Of real ones, called real."""

    d_prime: float
    criterion: float
    auroc: float
    """Probability that a synthetic one was called synthetic with more confidence than a real one; .5 is guessing."""

    auroc_interval: Interval
    """95 %, by the bootstrap over pictures."""

    @property
    def verdict(self) -> str:
        """In words whether the reader was better than a coin."""
        better, neither, worse = VERDICTS
        if self.p_value > SIGNIFICANT:
            return neither
        return better if self.accuracy.value > 0.5 else worse


def detect(
    verdicts: Float[np.ndarray, " picture"],
    is_synthetic: Bool[np.ndarray, " picture"],
    *,
    generator: np.random.Generator,
) -> Detection:
    """Count one reader's answers in one presentation.

    Args:
        verdicts: signed confidence, above 0 for synthetic; at least one.
        is_synthetic: the truth.
        generator: of the resamples.
    """
    says = verdicts > 0
    right = share(int((says == is_synthetic).sum()), len(says))
    hits = share(int((says & is_synthetic).sum()), int(is_synthetic.sum()))
    refusals = share(int((~says & ~is_synthetic).sum()), int((~is_synthetic).sum()))
    signal, noise = _deviate(hits), -_deviate(refusals)
    return Detection(
        accuracy=right,
        p_value=chance_of_guessing(right.count, right.total),
        sensitivity=hits,
        specificity=refusals,
        d_prime=signal - noise,
        criterion=-(signal + noise) / 2,
        auroc=auroc(verdicts, is_synthetic),
        auroc_interval=bootstrap_interval(
            lambda places: auroc(verdicts[places], is_synthetic[places]),
            np.arange(len(verdicts)),
            generator=generator,
        ),
    )


def _deviate(counted: Share) -> float:
    """Standard normal deviate of a share, kept off 0 and 1."""
    return NormalDist().inv_cdf((counted.count + 0.5) / (counted.total + 1))
